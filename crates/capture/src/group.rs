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
}

impl Group {
    /// All, the indispensable one first.
    pub const ALL: [Self; 5] = [
        Self::Sockets,
        Self::Process,
        Self::Existing,
        Self::TlsSecrets,
        Self::TlsCalls,
    ];

    /// The group of a program, by its section; helpers of the object have none.
    pub(crate) fn of_section(section: &str) -> Option<Self> {
        if section.starts_with("tp_btf/sched_") {
            Some(Self::Process)
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
