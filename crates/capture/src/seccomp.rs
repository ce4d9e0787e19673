//! Puts a system call filter in force.
//!
//! Here because no crate with a safe interface asks the kernel to log what a filter refuses; what is in the filter is not this
//! crate's business.

use std::io;

/// Filters the system calls of all threads of this process, and of those that they start, by a classic BPF program. `is_logged`: what it
/// refuses is also told to the kernel's audit log. It cannot be taken back, and neither can `no_new_privs`, which the kernel
/// wants first (seccomp(2)).
///
/// # Errors
/// What the kernel said; nothing is filtered then.
pub fn filter_system_calls(program: &[libc::sock_filter], is_logged: bool) -> io::Result<()> {
    let length = u16::try_from(program.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the filter is too long"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: a flag of this process; no memory is involved.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let log = if is_logged {
        libc::SECCOMP_FILTER_FLAG_LOG
    } else {
        0
    };
    // SAFETY: the kernel copies `length` instructions from the slice, which outlives the call, and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC | log,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!(
            "thread {thread} has a filter of its own"
        ))),
    }
}
