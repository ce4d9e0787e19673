//! Families of hooks that load and attach together.

use std::fmt;

/// A family of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Connections and their bytes.
    Sockets,
    /// Fork, exec, exit.
    Process,
    /// Connections older than the agent.
    Existing,
    /// Secrets from TLS libraries.
    TlsSecrets,
    /// Plaintext from TLS calls.
    TlsCalls,
    /// Bytes that io_uring moves.
    IoUring,
    /// Requests of io_uring that its tracepoints do not show: functions of the kernel, where it allows to hook them.
    IoUringHooks,
}

impl Group {
    /// All, the indispensable one first.
    pub const ALL: [Self; 7] = [
        Self::Sockets,
        Self::Process,
        Self::Existing,
        Self::TlsSecrets,
        Self::TlsCalls,
        Self::IoUring,
        Self::IoUringHooks,
    ];

    /// Those that attach by themselves, in this order; the others attach where they are asked to.
    pub(crate) const AT_ONCE: [Self; 4] = [Self::Sockets, Self::Process, Self::IoUring, Self::IoUringHooks];

    /// Captures what few programs do; a host without it is sound.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::IoUring | Self::IoUringHooks)
    }

    /// The group of a program, by its section; helpers of the object have none.
    pub(crate) fn of_section(section: &str) -> Option<Self> {
        if section.starts_with("tp_btf/sched_") {
            Some(Self::Process)
        } else if section.starts_with("tp_btf/io_uring_") {
            Some(Self::IoUring)
        } else if section.starts_with("fentry/") {
            Some(Self::IoUringHooks)
        } else if section.starts_with("tp_btf/") {
            Some(Self::Sockets)
        } else if section.starts_with("iter/") {
            Some(Self::Existing)
        } else if section.starts_with("uprobe/secret") || section.starts_with("uretprobe/secret") {
            Some(Self::TlsSecrets)
        } else if section.starts_with("uprobe/call") || section.starts_with("uretprobe/call") {
            Some(Self::TlsCalls)
        } else {
            None
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sockets => "sockets",
            Self::Process => "process",
            Self::Existing => "existing",
            Self::TlsSecrets => "tls-secrets",
            Self::TlsCalls => "tls-calls",
            Self::IoUring => "io-uring",
            Self::IoUringHooks => "io-uring-hooks",
        })
    }
}

/// What became of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// Which.
    pub group: Group,
    /// Why it is left out; `None` when it works.
    pub problem: Option<String>,
}
