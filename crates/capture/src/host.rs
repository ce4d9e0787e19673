//! Facts about this host that decide what can be captured.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Least kernel version: ring buffers (5.8), task iterators (5.8), and what our oldest build asks of the verifier.
pub const LEAST_KERNEL: KernelVersion = KernelVersion(5, 10);

/// Inode of the first pid namespace (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Capability numbers of `capabilities(7)` and what each is for.
const CAPABILITIES: [(u32, &str); 5] = [
    (39, "CAP_BPF"),
    (38, "CAP_PERFMON"),
    (CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE"),
    (19, "CAP_SYS_PTRACE"),
    (2, "CAP_DAC_READ_SEARCH"),
];

/// Stands for the first two.
const CAP_SYS_ADMIN: u32 = 21;

/// Links of many offsets (`BPF_TRACE_UPROBE_MULTI`).
pub(crate) const MULTI_LINKS: KernelVersion = KernelVersion(6, 6);

/// Major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// Of the running kernel; `None` when it does not say.
    #[must_use]
    pub fn running() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
    }

    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Whether every transfer of a socket passes a tracepoint (`sock_send_length`, `sock_recv_length`): they came in 6.3,
/// sendfile(2) and splice(2) go through them since 6.5.
pub(crate) fn shows_transfers(version: Option<KernelVersion>) -> bool {
    version.is_some_and(|version| version >= KernelVersion(6, 5))
}

/// Whether each user probe of this kernel is a perf event. From 6.6 on there are links of many offsets, which are not.
#[must_use]
pub fn probes_are_perf_events() -> bool {
    KernelVersion::running().is_some_and(|version| version < MULTI_LINKS)
}

/// What `qtap doctor` tells of the kernel; which groups load is asked of [`crate::Capture::load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Version, if the kernel says; at least [`LEAST_KERNEL`] is needed.
    pub kernel: Option<KernelVersion>,
    /// The kernel describes its types (`/sys/kernel/btf/vmlinux`), which is needed.
    pub btf: bool,
    /// Capabilities that this process lacks, by name.
    pub missing_capabilities: Vec<&'static str>,
    /// The lockdown mode, if there is one; `confidentiality` forbids reading memory.
    pub lockdown: Option<String>,
    /// We are in the first pid namespace. Elsewhere process ids in events are not those that we see.
    pub host_pid_namespace: bool,
}

impl HostFacts {
    /// Looks at this host; costs a few small reads in /proc and /sys.
    #[must_use]
    pub fn gather() -> Self {
        Self {
            kernel: KernelVersion::running(),
            btf: fs::metadata("/sys/kernel/btf/vmlinux").is_ok(),
            missing_capabilities: missing_capabilities(
                &fs::read_to_string("/proc/self/status").unwrap_or_default(),
                KernelVersion::running(),
            ),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown")
                .ok()
                .and_then(|modes| chosen(&modes)),
            host_pid_namespace: fs::metadata("/proc/self/ns/pid")
                .is_ok_and(|namespace| namespace.ino() == FIRST_PID_NAMESPACE),
        }
    }
}

/// The mode in brackets: `none [integrity] confidentiality`.
fn chosen(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// Maps count against `RLIMIT_MEMLOCK`, which only this may raise, before Linux 5.11.
const CAP_SYS_RESOURCE: u32 = 24;
const MEMORY_IS_ACCOUNTED_OTHERWISE: KernelVersion = KernelVersion(5, 11);

fn missing_capabilities(status: &str, kernel: Option<KernelVersion>) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let has = |number: u32| effective >> number & 1 == 1;
    let is_needed = |number: u32| {
        number != CAP_SYS_RESOURCE || kernel.is_none_or(|version| version < MEMORY_IS_ACCOUNTED_OTHERWISE)
    };
    let missing = |(number, _): &(u32, &str)| {
        is_needed(*number) && !(has(*number) || (*number >= 38 && has(CAP_SYS_ADMIN)))
    };
    CAPABILITIES
        .into_iter()
        .filter(missing)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_whatever_follows() {
        assert_eq!(
            KernelVersion::parse("5.10.0-28-amd64"),
            Some(KernelVersion(5, 10))
        );
        assert_eq!(KernelVersion::parse("6.18"), Some(KernelVersion(6, 18)));
        assert_eq!(KernelVersion::parse("strange"), None);
    }

    #[test]
    fn capabilities_that_lack_are_named() {
        let missing = |mask: &str, minor| {
            missing_capabilities(&format!("CapEff:\t{mask}\n"), Some(KernelVersion(5, minor)))
        };
        assert_eq!(missing("000001ffffffffff", 10), Vec::<&str>::new());
        assert_eq!(missing("0000000001280004", 10), Vec::<&str>::new());
        assert_eq!(missing("0000000000280004", 10), ["CAP_SYS_RESOURCE"]);
        assert_eq!(missing("0000000000280004", 11), Vec::<&str>::new());
        assert_eq!(
            missing("0000000000000000", 10),
            [
                "CAP_BPF",
                "CAP_PERFMON",
                "CAP_SYS_RESOURCE",
                "CAP_SYS_PTRACE",
                "CAP_DAC_READ_SEARCH"
            ]
        );
    }

    #[test]
    fn the_mode_in_brackets_holds() {
        assert_eq!(
            chosen("none [integrity] confidentiality\n").as_deref(),
            Some("integrity")
        );
        assert_eq!(chosen(""), None);
    }
}
