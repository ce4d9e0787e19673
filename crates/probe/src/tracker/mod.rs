//! Keeps the right probes attached while processes come and go.
//!
//! One thread owns a [`Tracker`]; others send it [`Input`]s and read its [`Implementations`]. Everything slow happens
//! here: reading `/proc`, scanning files, attaching.
//!
//! * A file is classified once per (device, inode, size, mtime) and attached once, whoever maps it. One that is written over
//!   in place loses its probes within a second.
//! * Files of the loader cache stay attached. Others are released when nobody maps them, the 64 last used after ten
//!   minutes, deleted ones at once: a probe would keep their space. So are those of a file system that could be unmounted then.
//! * Files without TLS code are marked known in the kernel, so that only mappings of new files and of TLS libraries
//!   are reported. That mark is taken back after ten minutes, as inode numbers are used again.
//! * A failure concerns its file alone and is tried again, after 5 s at first.

mod attach;
mod attacher;
mod detach;
mod expected;
mod files;
mod look;
mod mounts;
mod proof;
mod remover;
mod roots;
mod scanner;
mod upkeep;
mod waiters;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, never, select_biased};
use qtap_capture::{ExecutableMapped, Hook, Misfit, Pid};

pub use attacher::Attacher;
pub use expected::{Admitted, Expected};
use files::{Attachment, Files};
use mounts::Mounts;
use remover::Remover;
use roots::Roots;
use scanner::Scanner;
use waiters::Waiters;

use crate::cache::ScanCache;
use crate::identity::Inode;
use crate::report::Implementations;

/// `tap.tls.source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Secrets for everybody, calls for the processes that need them.
    #[default]
    Auto,
    /// Calls for everybody, no secrets.
    Calls,
    /// Secrets for everybody, never calls.
    Secrets,
}

/// What the tracker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A process was forked: it has its parent's mappings.
    Forked {
        /// Whose.
        parent: Pid,
        /// The new one.
        child: Pid,
    },
    /// A process has a new image.
    Exec(Pid),
    /// A file was mapped executable.
    Mapped(ExecutableMapped),
    /// A function that was found by inference is not what it was taken for.
    Misfit(Misfit),
    /// The secrets of a function are what they should be: a record opened under one.
    Proved {
        /// In which process.
        pid: Pid,
        /// Where the function is in it.
        address: u64,
    },
    /// A record that should have opened under a secret of a function did not.
    Failed {
        /// In which process.
        pid: Pid,
        /// Where the function is in it.
        address: u64,
        /// The secret was certainly meant for that record.
        is_certain: bool,
    },
    /// A process is gone.
    Exited(Pid),
    /// A connection of the process cannot be served by secrets.
    NeedCalls(Pid),
    /// No connection of the process needs calls any more.
    CallsDone(Pid),
    /// Events were lost: look at every process again.
    Resync,
    /// Remove every probe and end.
    Stop,
}

/// Processes followed; only those that have TLS code mapped count.
const MAX_PROCESSES: usize = 32 * 1024;
/// How long call probes outlive the last connection that needed them.
const CALLS_LINGER: Duration = Duration::from_secs(30);
/// How often [`Tracker::tick`] wants to be called.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Process<L> {
    /// The files with TLS or cryptographic code that it has mapped.
    files: BTreeSet<Inode>,
    wants_calls: bool,
    /// When they are taken off, because nobody has needed them for a while.
    calls_end: Option<Instant>,
    /// Call probes for this process alone.
    calls: HashMap<Inode, Attachment<L>>,
}

impl<L> Process<L> {
    fn new() -> Self {
        Self {
            files: BTreeSet::new(),
            wants_calls: false,
            calls_end: None,
            calls: HashMap::new(),
        }
    }

    /// Removes the call probes.
    fn drop_calls(&mut self) {
        self.wants_calls = false;
        self.calls_end = None;
        self.calls.clear();
    }
}

/// Finds the TLS libraries of processes and keeps probes attached to them, each file once.
#[derive(Debug)]
pub struct Tracker<A: Attacher> {
    attacher: A,
    source: Source,
    report: Implementations,
    files: Files<A::Links>,
    processes: HashMap<Pid, Process<A::Links>>,
    /// Who waits for a file that is being scanned.
    waiters: HashMap<Inode, Waiters>,
    /// Processes with a file that could not be read, and when to look at them again.
    retries: Vec<(Instant, Pid)>,
    /// Processes that are gone but still reported, and until when.
    graves: VecDeque<(Instant, Pid)>,
    /// Takes off the probes of processes that have ended.
    remover: Remover<A::Links>,
    /// Which file systems our probes may stay on.
    mounts: Mounts,
    roots: Roots,
    loader_cache: Option<SystemTime>,
    next_resync: Instant,
    next_save: Instant,
}

impl<A: Attacher> Tracker<A> {
    /// A tracker that has done nothing yet; [`Tracker::start`] makes it look around.
    pub fn new(attacher: A, source: Source) -> Self {
        Self {
            attacher,
            source,
            report: Implementations::default(),
            files: Files::new(),
            processes: HashMap::new(),
            waiters: HashMap::new(),
            retries: Vec::new(),
            graves: VecDeque::new(),
            remover: Remover::new(),
            mounts: Mounts::new(),
            roots: Roots::new(),
            loader_cache: None,
            next_resync: Instant::now() + upkeep::RESYNC,
            next_save: Instant::now() + upkeep::SAVE,
        }
    }

    /// Takes what former scans found from `cache`, and keeps what new ones find in it.
    #[must_use]
    pub fn with_cache(mut self, cache: ScanCache) -> Self {
        self.files.cache = cache;
        self
    }

    /// What is found, for other threads.
    #[must_use]
    pub fn implementations(&self) -> Implementations {
        self.report.clone()
    }

    /// Attaches the libraries of the loader cache, then looks at every running process. Call it when the kernel's
    /// events are already being collected, so that nothing falls between.
    pub fn start(&mut self) {
        self.pin_loader_cache();
        self.resync();
    }

    /// Serves `inbox`, and before it `expected`, until told to stop or until all senders of `inbox` are gone; all probes are removed when it returns.
    /// Wait for that before the process ends: the kernel gives up on a removal when it kills the thread at it, and the breakpoint then
    /// stays in the running programs ("failed to unregister, leaking uprobe"), a trap on each call for nothing.
    pub fn run(mut self, inbox: &Receiver<Input>, expected: &Receiver<Expected>) {
        let mut next_tick = Instant::now() + TICK;
        let mut expected = expected.clone();
        self.remover.open();
        self.files.scanner = Scanner::open(self.report.clone());
        let scanned = self.files.scanner.results().clone();
        loop {
            select_biased! {
                // Somebody waits for these.
                recv(expected) -> one => match one {
                    Ok(one) => self.expect(one),
                    Err(_) => expected = never(),
                },
                recv(scanned) -> one => if let Ok(one) = one {
                    self.scanned(one);
                },
                recv(inbox) -> input => match input {
                    Ok(Input::Stop) | Err(_) => break,
                    Ok(input) => self.handle(input),
                },
                default(next_tick.saturating_duration_since(Instant::now())) => {}
            }
            let now = Instant::now();
            if now >= next_tick {
                self.tick(now);
                next_tick = now + TICK;
            }
        }
        self.detach();
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Forked { parent, child } => self.forked(parent, child),
            Input::Exec(pid) => self.exec(pid),
            Input::Mapped(event) => self.mapped(&event),
            Input::Misfit(misfit) => self.misfit(&misfit),
            Input::Proved { pid, address } => self.proved(pid, address),
            Input::Failed {
                pid,
                address,
                is_certain,
            } => self.failed_proof(pid, address, is_certain),
            Input::Exited(pid) => self.exited(pid),
            Input::NeedCalls(pid) => self.need_calls(pid),
            Input::CallsDone(pid) => self.calls_done(pid),
            Input::Resync => self.resync(),
            // There is nothing after it to take.
            Input::Stop => {}
        }
    }

    /// The child has what its parent has; no mapping event will come for it.
    pub fn forked(&mut self, parent: Pid, child: Pid) {
        let Some(files) = self.processes.get(&parent).map(|process| process.files.clone()) else {
            // An earlier process of this number may still be reported.
            self.report.set(child, None);
            return;
        };
        self.set_files(child, files);
    }

    /// A new image: other mappings, and none of the former.
    pub fn exec(&mut self, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.drop_calls();
        }
        self.look_around(pid);
        self.scan_process(pid);
    }

    /// The process is gone. What is known of it stays readable for a while.
    pub fn exited(&mut self, pid: Pid) {
        let mut left = BTreeSet::new();
        if let Some(process) = self.processes.remove(&pid) {
            self.leave_files(pid, &process.files);
            if self.source == Source::Calls && self.has_go_calls(&process.files) {
                self.attacher.forget_go_calls(pid);
            }
            self.bury(pid);
            for attachment in process.calls.into_values() {
                if let Attachment::Attached { links, .. } = attachment {
                    self.remover.remove(links);
                }
            }
            left = process.files;
        }
        self.release_mounts(pid, &left);
    }

    fn has_go_calls(&self, files: &BTreeSet<Inode>) -> bool {
        let mut calls = (files.iter())
            .filter_map(|file| self.files.get(*file)?.classification())
            .flat_map(|found| &found.calls);
        calls.any(|point| point.hook == Hook::GoRead)
    }

    /// Attaches the calls of `pid`'s libraries, for it alone.
    pub fn need_calls(&mut self, pid: Pid) {
        if self.source != Source::Auto {
            return;
        }
        if !self.processes.contains_key(&pid) {
            self.scan_process(pid);
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.wants_calls = true;
            process.calls_end = None;
            self.sync(pid);
        }
    }

    /// Nobody needs them now. They stay on for a while: where one connection needed them the next is likely to, and one
    /// whose first bytes pass while they are being attached is read too late.
    pub fn calls_done(&mut self, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.calls_end = Some(Instant::now() + CALLS_LINGER);
        }
    }

    /// `pid` has exactly these files mapped.
    fn set_files(&mut self, pid: Pid, files: BTreeSet<Inode>) {
        if files.is_empty() {
            if let Some(process) = self.processes.remove(&pid) {
                self.leave_files(pid, &process.files);
            }
            self.report.set(pid, None);
            return;
        }
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&pid) {
            self.report.count(|counters| counters.table_full += 1);
            return;
        }
        let process = self.processes.entry(pid).or_insert_with(Process::new);
        let left: BTreeSet<Inode> = process.files.difference(&files).copied().collect();
        process.calls.retain(|file, _| files.contains(file));
        process.files.clone_from(&files);
        self.leave_files(pid, &left);
        let namespace = self.mounts.namespace(pid);
        for file in &files {
            if let Some(entry) = self.files.get_mut(*file) {
                if entry.users.is_empty() {
                    entry.namespace = entry.namespace.or(namespace);
                }
                entry.users.insert(pid);
            }
        }
        self.sync(pid);
        self.count_gauges();
    }

    fn leave_files(&mut self, pid: Pid, files: &BTreeSet<Inode>) {
        let now = Instant::now();
        for file in files {
            if let Some(entry) = self.files.get_mut(*file) {
                entry.users.remove(&pid);
                entry.last_used = now;
            }
        }
    }
}
