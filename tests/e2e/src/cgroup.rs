//! A control group of a test's own, of either version.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::until;

/// Of the first version.
const FREEZER_STATE: &str = "freezer.state";

/// What a group bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Bytes of memory.
    Memory,
    /// Number of processes.
    Processes,
    /// Nothing, but its processes can be made to stand still.
    Freezer,
}

impl Controller {
    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
            Self::Freezer => "freezer",
        }
    }
}

/// The group; its processes are killed and it is removed when it is dropped.
pub struct Cgroup {
    folder: PathBuf,
    controller: Controller,
    limit: &'static str,
    usage: &'static str,
}

impl Cgroup {
    /// Makes it, without a limit.
    #[must_use]
    pub fn create(controller: Controller) -> Self {
        let name = controller.name();
        let first = Path::new("/sys/fs/cgroup").join(name);
        let is_first_version = first.join("cgroup.procs").exists();
        let root = if is_first_version {
            first
        } else {
            let root = PathBuf::from("/sys/fs/cgroup");
            // The second version freezes without a controller.
            if controller != Controller::Freezer {
                fs::write(root.join("cgroup.subtree_control"), format!("+{name}"))
                    .unwrap_or_else(|error| panic!("cgroup controller {name}: {error}"));
            }
            root
        };
        let folder = root.join(format!("qtap-e2e-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let (limit, usage) = match (controller, is_first_version) {
            (Controller::Memory, true) => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            (Controller::Memory, false) => ("memory.max", "memory.current"),
            (Controller::Processes, _) => ("pids.max", "pids.current"),
            (Controller::Freezer, true) => (FREEZER_STATE, FREEZER_STATE),
            (Controller::Freezer, false) => ("cgroup.freeze", "cgroup.events"),
        };
        Self {
            folder,
            controller,
            limit,
            usage,
        }
    }

    /// Program and first arguments that put a process into it and replace themselves with what follows.
    #[must_use]
    pub fn wrapper(&self) -> [String; 4] {
        let enter = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.folder.display());
        ["/bin/sh".to_owned(), "-c".to_owned(), enter, "sh".to_owned()]
    }

    /// Sets the limit. Tells whether the kernel took it: the first version refuses one that is below what is in use.
    pub fn limit(&self, value: u64) -> bool {
        fs::write(self.folder.join(self.limit), value.to_string()).is_ok()
    }

    /// Freezes its processes, or thaws them, and waits until that is done.
    pub fn freeze(&self, frozen: bool) {
        let (value, done) = match (self.limit == FREEZER_STATE, frozen) {
            (true, true) => ("FROZEN", "FROZEN"),
            (true, false) => ("THAWED", "THAWED"),
            (false, true) => ("1", "frozen 1"),
            (false, false) => ("0", "frozen 0"),
        };
        fs::write(self.folder.join(self.limit), value).expect("freeze a cgroup");
        until(Duration::from_secs(10), done, || {
            let state = fs::read_to_string(self.folder.join(self.usage));
            state.expect("state of a cgroup").lines().any(|line| line == done)
        });
    }

    /// What is in use.
    #[must_use]
    pub fn usage(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.usage)).expect("usage of a cgroup");
        text.trim().parse().expect("a number")
    }

    /// Process ids in it.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.controller == Controller::Freezer {
            // What is frozen does not die.
            self.freeze(false);
        }
        until(Duration::from_secs(20), "end of a cgroup's processes", || {
            for pid in self.pids() {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    // It may have ended by itself.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            fs::remove_dir(&self.folder).is_ok()
        });
    }
}
