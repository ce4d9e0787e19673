//! How a thread of this process competes for the processors.

use std::io;

/// A thread of this process, by its id in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId(libc::pid_t);

impl ThreadId {
    /// The calling thread.
    #[must_use]
    pub fn current() -> Self {
        // SAFETY: takes nothing and always succeeds.
        Self(unsafe { libc::gettid() })
    }
}

/// How a thread competes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Like every program.
    #[default]
    Normal,
    /// It runs on what others leave over, and never takes a processor from them (`SCHED_IDLE`, sched(7)).
    Background,
}

/// Sets how `thread` competes.
///
/// # Errors
/// Whoever wants to leave [`Priority::Background`] again needs `CAP_SYS_NICE`; see [`can_return_from_background`].
pub fn set_priority(thread: ThreadId, priority: Priority) -> io::Result<()> {
    let policy = match priority {
        Priority::Normal => libc::SCHED_OTHER,
        Priority::Background => libc::SCHED_IDLE,
    };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` is valid for the call; a thread that is gone makes it fail.
    match unsafe { libc::sched_setscheduler(thread.0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a thread of ours may go to the background and come back, tried on one that ends at once.
///
/// # Errors
/// What the system says against it.
pub fn can_return_from_background() -> io::Result<()> {
    let trial = std::thread::Builder::new().spawn(|| {
        let thread = ThreadId::current();
        set_priority(thread, Priority::Background)?;
        set_priority(thread, Priority::Normal)
    })?;
    trial
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the trial panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_what_is_set() {
        let policy = || std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // proc(5): field 41, counted from behind the name in parentheses.
        let field = |stat: String| {
            stat.rsplit(')')
                .next()
                .unwrap()
                .split_whitespace()
                .nth(38)
                .unwrap()
                .to_owned()
        };
        let former = field(policy());
        set_priority(ThreadId::current(), Priority::Background).unwrap();
        assert_eq!((former.as_str(), field(policy()).as_str()), ("0", "5"));
    }
}
