//! The kernel's clock, for telling whether a handshake came before a probe.

use qtap_capture::KernelTime;

/// `CLOCK_MONOTONIC`, which `bpf_ktime_get_ns` reads too.
pub(crate) fn now() -> KernelTime {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec that lives through the call; this clock exists on every Linux, so the call
    // cannot fail and leaves no state behind.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    KernelTime(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}
