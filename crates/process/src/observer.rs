//! Makes records out of exec events and `/proc`. Runs on the table's own thread: it does I/O.

use std::collections::HashMap;
use std::sync::Arc;

use qtap_capture::{Pid, ProcessExec};

use crate::accounts::{self, Accounts};
use crate::cgroup::Membership;
use crate::environment::Environment;
use crate::procfs::{MAX_ARGS_BYTES, ProcFs, Stat};
use crate::{Container, Process, User};

/// Most arguments of one record.
const MAX_ARGS: usize = 256;
/// Cgroup ids remembered.
const MAX_CGROUPS: usize = 4096;

/// A record and the variables that it was made with; these go on to children.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) process: Process,
    pub(crate) environment: Arc<Environment>,
}

/// What became of an exec event.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) observed: Observed,
    /// `/proc` still showed this very image.
    pub(crate) read: bool,
}

/// Reads processes; remembers what many of them share.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) procfs: ProcFs,
    accounts: Accounts,
    /// By cgroup v2 id, for processes that are gone before their cgroup can be read.
    cgroups: HashMap<u64, (String, Option<Container>)>,
    /// Tag key and variable.
    wanted: Vec<(String, String)>,
    /// Boot time at which the agent began to watch.
    began_ns: u64,
}

impl Observer {
    pub(crate) fn new(procfs: ProcFs, wanted: Vec<(String, String)>) -> Self {
        let began_ns = procfs.uptime_ns().unwrap_or_default();
        Self {
            procfs,
            accounts: Accounts::default(),
            cgroups: HashMap::new(),
            wanted,
            began_ns,
        }
    }

    pub(crate) fn set_wanted(&mut self, wanted: Vec<(String, String)>) {
        self.wanted = wanted;
    }

    /// Two reports of one start: events have nanoseconds, `/proc` has clock ticks.
    pub(crate) const fn same_start(&self, a_ns: u64, b_ns: u64) -> bool {
        a_ns.abs_diff(b_ns) <= self.procfs.tick_ns()
    }

    /// `/proc/PID/stat` if `pid` still is the process that started then; zombies have nothing left to read.
    fn alive(&self, pid: Pid, start_ns: u64) -> Option<Stat> {
        let stat = self.procfs.stat(pid)?;
        (self.same_start(stat.start_ns, start_ns) && !stat.zombie).then_some(stat)
    }

    /// The record of a running process; `None` if it is gone, a kernel thread or a zombie.
    pub(crate) fn read(&mut self, pid: Pid) -> Option<Observed> {
        let as_of = qtap_capture::now();
        let stat = self
            .procfs
            .stat(pid)
            .filter(|stat| !stat.kernel_thread && !stat.zombie)?;
        let exe = self.procfs.exe(pid).unwrap_or_default();
        let args = self.procfs.cmdline(pid).unwrap_or_default();
        let environ = self.procfs.environ(pid).unwrap_or_default();
        let environment = Environment::select(&environ, &self.wanted);
        let membership = self
            .procfs
            .cgroup(pid)
            .map(|text| Membership::parse(&text))
            .unwrap_or_default();
        let uid = self.procfs.effective_uid(pid)?;
        // Everything above is of one process only if it is still there.
        self.alive(pid, stat.start_ns)?;
        let process = Process {
            pid,
            parent: Some(stat.parent).filter(|parent| parent.0 != 0),
            start_ns: stat.start_ns,
            strategy: environment.strategy_for(&exe),
            tags: environment.clone().into_tags(),
            exe,
            args: parse_args(&args),
            user: self.user(pid, uid),
            hostname: self.hostname(pid),
            cgroup: membership.path,
            container: membership.container,
            predates_agent: stat.start_ns <= self.began_ns,
            as_of,
        };
        Some(Observed {
            process,
            environment: Arc::new(environment),
        })
    }

    /// The record of an image that began with `exec`. What `/proc` does not tell any more comes from the event,
    /// what neither tells from `former`, the image that it replaced.
    pub(crate) fn executed(&mut self, exec: &ProcessExec, former: Option<&Observed>) -> Executed {
        let pid = exec.pid;
        let alive = self.alive(pid, exec.start_ns).is_some();
        let filename = String::from_utf8_lossy(&exec.filename).into_owned();
        let running_exe = if alive {
            self.exe_of_image(exec, &filename)
        } else {
            None
        };

        let read = running_exe.is_some();
        let environment = self.environment_of(exec, read, former);
        let exe = running_exe.unwrap_or(filename);
        let user = if alive {
            self.user(pid, exec.uid)
        } else {
            self.user_of_gone(exec, former)
        };
        let hostname = if alive { self.hostname(pid) } else { None };
        let (cgroup, container) = self.cgroup_of(exec, alive, former);

        let process = Process {
            pid,
            parent: Some(exec.parent),
            start_ns: exec.start_ns,
            strategy: environment.strategy_for(&exe),
            tags: environment.clone().into_tags(),
            exe,
            args: parse_args(&exec.args),
            user,
            hostname: hostname.or_else(|| former?.process.hostname.clone()),
            cgroup,
            container,
            predates_agent: false,
            as_of: exec.time,
        };
        let environment = Arc::new(environment);
        let observed = Observed { process, environment };
        Executed { observed, read }
    }

    /// `/proc/PID/exe`, if it still shows the image of this event and not one of a later exec.
    fn exe_of_image(&self, exec: &ProcessExec, filename: &str) -> Option<String> {
        let exe = self.procfs.exe(exec.pid)?;
        let args = self.procfs.cmdline(exec.pid)?;
        let unchanged = self.procfs.exe(exec.pid)? == exe;
        // A process may rewrite its arguments (setproctitle); then the file still tells.
        let matches = same_args(&args, &exec.args) || self.procfs.exe_is(exec.pid, filename);
        (unchanged && matches).then_some(exe)
    }

    fn environment_of(&self, exec: &ProcessExec, readable: bool, former: Option<&Observed>) -> Environment {
        let needs_proc = exec.environment.is_none() || !self.wanted.is_empty();
        let shown = if readable && needs_proc {
            self.procfs.environ(exec.pid)
        } else {
            None
        };
        let known = match shown {
            Some(block) => Environment::select(&block, &self.wanted),
            // Environments are mostly handed on; so is the wish to be left alone.
            None => former
                .map(|observed| observed.environment.as_ref().clone())
                .unwrap_or_default(),
        };
        match &exec.environment {
            Some(block) => known.overruled_by(Environment::select(block, &[])),
            None => known,
        }
    }

    fn cgroup_of(
        &mut self,
        exec: &ProcessExec,
        alive: bool,
        former: Option<&Observed>,
    ) -> (String, Option<Container>) {
        let text = if alive { self.procfs.cgroup(exec.pid) } else { None };
        if let Some(text) = text {
            let membership = Membership::parse(&text);
            if membership.unified && exec.cgroup_id != 0 {
                if self.cgroups.len() >= MAX_CGROUPS {
                    self.cgroups.clear();
                }
                let known = (membership.path.clone(), membership.container.clone());
                self.cgroups.insert(exec.cgroup_id, known);
            }
            return (membership.path, membership.container);
        }
        if let Some(known) = self.cgroups.get(&exec.cgroup_id) {
            return known.clone();
        }
        former
            .map(|observed| {
                (
                    observed.process.cgroup.clone(),
                    observed.process.container.clone(),
                )
            })
            .unwrap_or_default()
    }

    fn user(&mut self, pid: Pid, id: u32) -> User {
        User {
            id,
            name: self.accounts.user_name(&self.procfs.root_of(pid), id),
        }
    }

    /// The user of a process whose root cannot be looked into any more: named as before the exec, or as its parent's root
    /// has it, which is nearly always its own.
    fn user_of_gone(&mut self, exec: &ProcessExec, former: Option<&Observed>) -> User {
        let same = former.filter(|observed| observed.process.user.id == exec.uid);
        let name = same.and_then(|observed| observed.process.user.name.clone());
        match name {
            Some(name) => User {
                id: exec.uid,
                name: Some(name),
            },
            None => self.user(exec.parent, exec.uid),
        }
    }

    fn hostname(&self, pid: Pid) -> Option<String> {
        accounts::hostname(&self.procfs.root_of(pid)).or_else(|| self.procfs.shared_hostname(pid))
    }
}

/// NUL-separated arguments; a cut last one stays cut.
fn parse_args(block: &[u8]) -> Vec<String> {
    let block = block.get(..MAX_ARGS_BYTES).unwrap_or(block);
    let block = block.strip_suffix(b"\0").unwrap_or(block);
    if block.is_empty() {
        return Vec::new();
    }
    let args = block.split(|byte| *byte == 0).take(MAX_ARGS);
    args.map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect()
}

/// Whether two reports of arguments, each cut at [`MAX_ARGS_BYTES`], are of one image.
fn same_args(a: &[u8], b: &[u8]) -> bool {
    let bare = |args: &[u8]| {
        args.iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1)
    };
    let (a_end, b_end) = (bare(a), bare(b));
    let cut = a.len().max(b.len()) >= MAX_ARGS_BYTES;
    let compared = if cut { a_end.min(b_end) } else { a_end.max(b_end) };
    a.get(..compared).is_some_and(|a| b.get(..compared) == Some(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_at_nul_and_bounded() {
        assert!(parse_args(b"").is_empty());
        assert_eq!(parse_args(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert_eq!(parse_args(b"a\0cut"), ["a", "cut"]);
        assert_eq!(parse_args(b"\xff\0"), ["\u{fffd}"]);
        assert_eq!(parse_args(&b"x\0".repeat(5000)).len(), MAX_ARGS);
        assert_eq!(parse_args(&[b'x'; 9000]), ["x".repeat(MAX_ARGS_BYTES)]);
    }

    #[test]
    fn arguments_of_one_image_compare_equal_however_they_end() {
        assert!(same_args(b"sh\0-c\0x\0", b"sh\0-c\0x"));
        assert!(same_args(b"", b""));
        assert!(!same_args(b"sh\0-c\0x\0", b"sh\0-c\0"));
        assert!(!same_args(b"sh\0-c\0", b"sh\0-c\0x\0"));
        let long = [b'x'; MAX_ARGS_BYTES];
        assert!(same_args(&long, &long[..4000]));
        assert!(!same_args(&long, &[b'y'; MAX_ARGS_BYTES]));
    }
}
