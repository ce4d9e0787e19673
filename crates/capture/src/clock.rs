//! The kernel's clock, as events carry it, and its account of our CPU time.

use std::time::Duration;

use crate::KernelTime;

/// Now on `CLOCK_MONOTONIC`, the clock of [`KernelTime`]. Costs a vDSO call, about 25 ns.
#[must_use]
pub fn now() -> KernelTime {
    KernelTime(read(libc::CLOCK_MONOTONIC))
}

/// CPU time that all threads of this process have used, a system call.
#[must_use]
pub fn cpu_time() -> Duration {
    Duration::from_nanos(read(libc::CLOCK_PROCESS_CPUTIME_ID))
}

/// CPU time that this thread has used, a system call.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    Duration::from_nanos(read(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// One of the clocks that exist on every Linux, in nanoseconds.
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the call to fill; the clock exists, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanoseconds
}
