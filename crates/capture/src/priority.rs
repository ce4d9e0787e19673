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
    /// Like every program, or as nice as this one was started.
    #[default]
    Normal,
    /// With a nice value, 1 to 19, or that of this process where it is higher: the higher, the smaller its part of a processor that others want
    /// too.
    Nice(u8),
    /// It runs on what others leave over, and never takes a processor from them (`SCHED_IDLE`, sched(7)).
    Background,
}

/// Sets how `thread` competes.
///
/// # Errors
/// Whoever wants to leave [`Priority::Background`] again needs `CAP_SYS_NICE`; see [`can_return_from_background`].
pub fn set_priority(thread: ThreadId, priority: Priority) -> io::Result<()> {
    let own = nice_of_process()?;
    let (policy, nice) = match priority {
        Priority::Normal => (libc::SCHED_OTHER, own),
        Priority::Nice(nice) => (libc::SCHED_OTHER, own.max(nice.into())),
        // The nice value counts among threads of the background as well.
        Priority::Background => (libc::SCHED_IDLE, own),
    };
    let parameters = libc::sched_param { sched_priority: 0 };
    let id = libc::id_t::try_from(thread.0).map_err(io::Error::other)?;
    // SAFETY: `parameters` is valid for the call; a thread that is gone makes either fail.
    let outcomes = unsafe {
        [
            libc::sched_setscheduler(thread.0, policy, &raw const parameters),
            libc::setpriority(libc::PRIO_PROCESS, id, nice),
        ]
    };
    match outcomes {
        [0, 0] => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The nice value of this process: that of its first thread, whose priority is never set.
fn nice_of_process() -> io::Result<libc::c_int> {
    // SAFETY: takes numbers alone; the location of `errno` is this thread's.
    unsafe {
        *libc::__errno_location() = 0;
        let nice = libc::getpriority(libc::PRIO_PROCESS, std::process::id());
        // -1 is a nice value too.
        match io::Error::last_os_error() {
            error if nice == -1 && error.raw_os_error() != Some(0) => Err(error),
            _ => Ok(nice),
        }
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
        set_priority(thread, Priority::Nice(1))?;
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
        // proc(5): nice is field 19, policy 41, counted from behind the name in parentheses.
        let nice_and_policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields = stat.rsplit(')').next().unwrap().split_whitespace();
            let fields: Vec<_> = fields.map(str::to_owned).collect();
            (fields[16].clone(), fields[38].clone())
        };
        let own = nice_of_process().unwrap();
        let mut found = vec![nice_and_policy()];
        for priority in [Priority::Nice(7), Priority::Background, Priority::Normal] {
            set_priority(ThreadId::current(), priority).unwrap();
            found.push(nice_and_policy());
        }
        let expected = [(own, "0"), (own.max(7), "0"), (own, "5"), (own, "0")];
        assert_eq!(
            found,
            expected.map(|(nice, policy)| (nice.to_string(), policy.to_owned()))
        );
    }
}
