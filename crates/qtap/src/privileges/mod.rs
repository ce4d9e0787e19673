//! What the agent may do, and gives up before it looks at anything from outside (`docs/security.md`).
//!
//! Two steps. [`Confinement::begin`] comes before the first thread, because capabilities belong to a thread and new threads
//! inherit them; [`Confinement::finish`] comes when everything is loaded, mapped and bound, and filters the system calls of
//! all threads. Neither stops the agent: what the kernel refuses is a warning, and the agent runs with more than it needs.

mod capabilities;
mod denied;
mod syscalls;

use std::fmt;

use caps::CapsHashSet;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// What this process is, which decides what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Captures until it is told to stop; its status server listens on this port.
    Agent {
        /// As asked for; 0 is any.
        port: u16,
    },
    /// Runs a command that was started before, with the caller's privileges, and may have to end it.
    Check,
    /// Holds programs until they are probed, and does nothing else.
    Holder,
    /// Looks whether the others could run.
    Doctor,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Confinement {
    role: Role,
    kept: CapsHashSet,
    dropped: CapsHashSet,
    filtered: bool,
    problems: Vec<String>,
    /// A process of this one's that it may have to end.
    ward: Option<u32>,
    /// Switched off by `--keep-privileges`.
    off: bool,
}

impl Confinement {
    /// Raises the limits that need privileges, then drops the capabilities that are not needed, and the right to gain any.
    /// To be called while this is the only thread.
    pub(crate) fn begin(role: Role, keep_privileges: bool) -> Self {
        raise_limits();
        let mut confinement = Self {
            role,
            kept: CapsHashSet::new(),
            dropped: CapsHashSet::new(),
            filtered: false,
            problems: Vec::new(),
            ward: None,
            off: keep_privileges,
        };
        // Payload and keys are not for core files, nor for debuggers without CAP_SYS_PTRACE.
        confinement.note(
            "core files are not prevented",
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable),
        );
        if keep_privileges {
            return confinement;
        }
        match capabilities::drop_all_but(&capabilities::needed(role)) {
            Ok((kept, dropped)) => (confinement.kept, confinement.dropped) = (kept, dropped),
            Err(error) => confinement
                .problems
                .push(format!("capabilities are kept: {error}")),
        }
        confinement.note("no_new_privs is not set", rustix::thread::set_no_new_privs(true));
        confinement
    }

    /// Leaves the right to end this process.
    pub(crate) fn may_end(&mut self, pid: u32) {
        self.ward = Some(pid);
    }

    /// Filters the system calls of all threads, and logs what is in force.
    pub(crate) fn finish(mut self) -> Self {
        if self.off {
            tracing::warn!(
                "--keep-privileges: the agent keeps all its capabilities, and its system calls are not filtered"
            );
            return self;
        }
        match syscalls::filter(self.role, self.ward) {
            Ok(()) => self.filtered = true,
            Err(error) => self
                .problems
                .push(format!("system calls are not filtered: {error:#}")),
        }
        for problem in &self.problems {
            tracing::warn!(problem, "the agent runs with more privileges than it needs");
        }
        let kept = names(&self.kept);
        let system_calls = if self.filtered { "filtered" } else { "not filtered" };
        if matches!(self.role, Role::Agent { .. }) {
            tracing::info!(
                kept,
                dropped = self.dropped.len(),
                system_calls,
                "privileges dropped"
            );
        } else {
            tracing::debug!(
                kept,
                dropped = self.dropped.len(),
                system_calls,
                "privileges dropped"
            );
        }
        self
    }

    /// Whether everything that was to be given up is.
    pub(crate) fn is_complete(&self) -> bool {
        self.problems.is_empty() && !self.off
    }

    fn note(&mut self, what: &str, result: rustix::io::Result<()>) {
        if let Err(error) = result {
            self.problems.push(format!("{what}: {error}"));
        }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.off {
            return f.write_str("nothing is dropped: --keep-privileges");
        }
        write!(f, "kept {}; dropped {}", names(&self.kept), self.dropped.len())?;
        if self.filtered {
            f.write_str("; system calls filtered")?;
        }
        for problem in &self.problems {
            write!(f, "; {problem}")?;
        }
        Ok(())
    }
}

/// In the order of their numbers.
fn names(capabilities: &CapsHashSet) -> String {
    let mut sorted: Vec<_> = capabilities.iter().collect();
    sorted.sort_unstable_by_key(|capability| capability.index());
    if sorted.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = sorted.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Maps are locked memory before Linux 5.11, and a probe is two descriptors before 6.6. A limit that cannot be raised shows
/// where it is reached.
fn raise_limits() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "the limit of locked memory stays");
    }
    let descriptors = rustix::process::getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: descriptors.maximum,
        ..descriptors
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, highest) {
        tracing::debug!(%error, "the limit of descriptors stays");
    }
}
