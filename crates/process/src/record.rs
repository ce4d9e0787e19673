//! What is known of one process.

use qtap_capture::{KernelTime, Pid};

/// `QPOINT_STRATEGY` (`surface.md` §2.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Report it.
    #[default]
    Observe,
    /// Leave it out entirely.
    Ignore,
    /// Connections are reported, payload is not parsed.
    Audit,
    /// For the egress controller, which this agent does not have: observed.
    Forward,
    /// As `Forward`.
    Proxy,
}

impl Strategy {
    /// Name in tags and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Ignore => "ignore",
            Self::Audit => "audit",
            Self::Forward => "forward",
            Self::Proxy => "proxy",
        }
    }
}

/// Owner of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Effective uid; `u32::MAX` when not known.
    pub id: u32,
    /// Name in the passwd file of the process' own root, if any.
    pub name: Option<String>,
}

/// Container of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Full id: 64 hex digits.
    pub id: String,
    /// Pod uid from the cgroup path.
    pub pod_uid: Option<String>,
}

/// One process image. Immutable: an exec makes a new record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: Pid,
    /// Parent at the time of the fork.
    pub parent: Option<Pid>,
    /// Start time, nanoseconds since boot.
    pub start_ns: u64,
    /// Path of the executable as the process sees it; empty when it was gone before it could be read.
    pub exe: String,
    /// Arguments from `argv[0]` on, lossy UTF-8, first 4 KiB and at most 256 of them.
    pub args: Vec<String>,
    /// Owner.
    pub user: User,
    /// Host name inside its root.
    pub hostname: Option<String>,
    /// cgroup path (the v2 line, else the first).
    pub cgroup: String,
    /// Container, if the cgroup names one.
    pub container: Option<Container>,
    /// `QPOINT_STRATEGY`, already matched against its own filters.
    pub strategy: Strategy,
    /// `QPOINT_TAGS` as key and value.
    pub tags: Vec<(String, String)>,
    /// This image ran before the agent did.
    pub predates_agent: bool,
    /// A time at which this image ran: that of the event that told of it, or of the look at `/proc`.
    pub as_of: KernelTime,
}

impl Process {
    /// A process of which nothing but its id is known.
    #[must_use]
    pub const fn unknown(pid: Pid) -> Self {
        Self {
            pid,
            parent: None,
            start_ns: 0,
            exe: String::new(),
            args: Vec::new(),
            user: User {
                id: u32::MAX,
                name: None,
            },
            hostname: None,
            cgroup: String::new(),
            container: None,
            strategy: Strategy::Observe,
            tags: Vec::new(),
            predates_agent: false,
            as_of: KernelTime(0),
        }
    }

    /// Base name of the executable.
    #[must_use]
    pub fn binary(&self) -> &str {
        self.exe.rsplit('/').next().unwrap_or_default()
    }
}
