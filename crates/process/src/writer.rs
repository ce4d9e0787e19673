//! The half of the table that takes events and reads `/proc`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use qtap_capture::{KernelTime, Pid, ProcessEvent, ProcessExec};
use qtap_config::ProcessTag;

use crate::Process;
use crate::environment::Environment;
use crate::observer::{Observed, Observer};
use crate::procfs::ProcFs;
use crate::retention::{Ended, Limits, MAX_IMAGES_PER_PID, Retention, footprint};
use crate::stats::increment;
use crate::table::{Image, Shared, Table};

/// Pids that readers asked for and that were not looked at yet.
const MAX_REQUESTS: usize = 1024;
/// Bounds the time that events wait behind requests.
const REQUESTS_PER_TICK: usize = 64;

/// `/proc` could not be read at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the processes in {path}: {source}; is a proc file system mounted there?")]
pub struct SnapshotError {
    path: PathBuf,
    source: io::Error,
}

/// Keeps a [`Table`]; owned by the one thread that feeds it.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    requests: Receiver<Pid>,
    observer: Observer,
    retention: Retention,
    next_serial: u64,
    proc_root: PathBuf,
}

/// Makes an empty table with its writer. `tags` name variables whose values become tags of a process.
#[must_use]
pub fn table(limits: Limits, tags: &[ProcessTag]) -> (Table, Writer) {
    table_at(PathBuf::from("/proc"), limits, tags)
}

/// As [`table`] with another mount point of the proc file system, such as the host's one in a container.
#[must_use]
pub fn table_at(proc_root: PathBuf, limits: Limits, tags: &[ProcessTag]) -> (Table, Writer) {
    let shared = Arc::new(Shared::new());
    let (sender, requests) = bounded(MAX_REQUESTS);
    let writer = Writer {
        shared: shared.clone(),
        requests,
        observer: Observer::new(ProcFs::new(proc_root.clone()), wanted(tags)),
        retention: Retention::new(limits),
        next_serial: 0,
        proc_root,
    };
    (
        Table {
            shared,
            requests: sender,
        },
        writer,
    )
}

fn wanted(tags: &[ProcessTag]) -> Vec<(String, String)> {
    tags.iter()
        .map(|tag| (tag.key.clone(), tag.variable.clone()))
        .collect()
}

impl Writer {
    /// Takes over a reloaded configuration; holds for images that begin from now on.
    pub fn set_tags(&mut self, tags: &[ProcessTag]) {
        self.observer.set_wanted(wanted(tags));
    }

    /// Takes one event. Returns the record that it made or changed, for a verdict on the new image.
    pub fn handle(&mut self, event: ProcessEvent) -> Option<Arc<Process>> {
        let now = Instant::now();
        self.forget_expired(now);
        match event {
            ProcessEvent::Forked {
                pid,
                parent,
                start_ns,
                time,
            } => {
                increment(&self.shared.counters.forks);
                self.forked(pid, parent, start_ns, time, now)
            }
            ProcessEvent::Exec(exec) => {
                increment(&self.shared.counters.execs);
                self.executed(&exec, now)
            }
            ProcessEvent::Exited {
                pid, start_ns, time, ..
            } => {
                increment(&self.shared.counters.exits);
                let same = self.running(pid).filter(|image| self.is_of(image, start_ns));
                if let Some(image) = same {
                    self.end(&image, time, now);
                }
                None
            }
        }
    }

    /// Takes in what runs now. Call it once the hooks are live, and again whenever process events were lost: what
    /// is known already stays as it is, what is gone or has changed is put right. Returns the records made.
    ///
    /// # Errors
    /// If the proc file system cannot be listed.
    pub fn snapshot(&mut self) -> Result<Vec<Arc<Process>>, SnapshotError> {
        let now = Instant::now();
        let failed = |source| SnapshotError {
            path: self.proc_root.clone(),
            source,
        };
        let pids: Vec<Pid> = self.observer.procfs.pids().map_err(failed)?.collect();
        for process in self.shared.running() {
            let stat = self.observer.procfs.stat(process.pid);
            let alive = stat.is_some_and(|stat| self.observer.same_start(stat.start_ns, process.start_ns));
            if !alive && let Some(image) = self.running(process.pid) {
                increment(&self.shared.counters.exits_missed);
                self.end(&image, image.from, now);
            }
        }
        Ok(pids
            .into_iter()
            .filter_map(|pid| self.refresh(pid, now))
            .collect())
    }

    /// Where readers ask for processes that they missed: whoever waits for events waits for these too, then calls
    /// [`Writer::tick`].
    #[must_use]
    pub fn requests(&self) -> Receiver<Pid> {
        self.requests.clone()
    }

    /// Forgets what is over and reads the processes that readers missed. Call it when there is no event for a
    /// while, and after each batch of events. Returns the records made.
    pub fn tick(&mut self) -> Vec<Arc<Process>> {
        let now = Instant::now();
        self.forget_expired(now);
        let mut made = Vec::new();
        for _ in 0..REQUESTS_PER_TICK {
            let Ok(pid) = self.requests.try_recv() else { break };
            if self.running(pid).is_none() {
                made.extend(self.refresh(pid, now));
            }
        }
        made
    }

    fn forked(
        &mut self,
        pid: Pid,
        parent: Pid,
        start_ns: u64,
        time: KernelTime,
        now: Instant,
    ) -> Option<Arc<Process>> {
        let mut known = None;
        if let Some(image) = self.running(pid) {
            if !self.is_of(&image, start_ns) {
                increment(&self.shared.counters.exits_missed);
                self.end(&image, time, now);
            } else if image.process.predates_agent {
                // The snapshot saw it first; the event proves that it began after the hooks.
                known = Some(observed(&image));
                self.remove(pid, image.serial);
            } else {
                return Some(image.process);
            }
        }
        let inherited = || {
            self.shared
                .at(parent, time)
                .or_else(|| self.shared.newest(parent))
        };
        let base = known.or_else(|| {
            inherited()
                .as_ref()
                .map(observed)
                .filter(|base| !base.process.exe.is_empty())
        });
        let child = match base {
            Some(base) => Observed {
                process: Process {
                    pid,
                    parent: Some(parent),
                    start_ns,
                    predates_agent: false,
                    as_of: time,
                    ..base.process
                },
                environment: base.environment,
            },
            None => self.orphan(pid, parent, start_ns, time),
        };
        self.insert(child, time)
    }

    /// A child whose parent is not known: read while it lives, else it is nothing but a pid.
    fn orphan(&mut self, pid: Pid, parent: Pid, start_ns: u64, time: KernelTime) -> Observed {
        if let Some(mut read) = self.observer.read(pid)
            && self.observer.same_start(read.process.start_ns, start_ns)
        {
            increment(&self.shared.counters.from_proc);
            read.process.start_ns = start_ns;
            read.process.predates_agent = false;
            return read;
        }
        increment(&self.shared.counters.orphans);
        let process = Process {
            parent: Some(parent),
            start_ns,
            as_of: time,
            ..Process::unknown(pid)
        };
        Observed {
            process,
            environment: Arc::new(Environment::default()),
        }
    }

    fn executed(&mut self, exec: &ProcessExec, now: Instant) -> Option<Arc<Process>> {
        let mut former = None;
        if let Some(image) = self.running(exec.pid) {
            if self.is_of(&image, exec.start_ns) {
                former = Some(observed(&image));
            } else {
                increment(&self.shared.counters.exits_missed);
            }
            self.end(&image, exec.time, now);
        }
        let former = former.or_else(|| self.shared.newest(exec.parent).as_ref().map(observed));
        let executed = self.observer.executed(exec, former.as_ref());
        if !executed.read {
            increment(&self.shared.counters.unread);
        }
        self.insert(executed.observed, exec.time)
    }

    /// Reads a process unless it is known as it is.
    fn refresh(&mut self, pid: Pid, now: Instant) -> Option<Arc<Process>> {
        let known = self.shared.newest(pid);
        let running = known.as_ref().filter(|image| !image.ended);
        if let Some(image) = running
            && self
                .observer
                .procfs
                .exe(pid)
                .is_some_and(|exe| exe == image.process.exe)
        {
            return None;
        }
        let read = self.observer.read(pid)?;
        if let Some(image) = running {
            self.end(image, image.from, now);
        }
        increment(&self.shared.counters.from_proc);
        // When this image began is not known, only that it was after what is known of the pid.
        let from = known.map_or(KernelTime(0), |image| image.from.max(image.until));
        self.insert(read, from)
    }

    fn running(&self, pid: Pid) -> Option<Image> {
        self.shared.newest(pid).filter(|image| !image.ended)
    }

    fn is_of(&self, image: &Image, start_ns: u64) -> bool {
        self.observer.same_start(image.process.start_ns, start_ns)
    }

    fn insert(&mut self, new: Observed, from: KernelTime) -> Option<Arc<Process>> {
        let counters = &self.shared.counters;
        let size = footprint(&new.process);
        let records =
            |shared: &Shared| shared.counters.running.load(Relaxed) + shared.counters.ended.load(Relaxed);
        while let Some(oldest) = self
            .retention
            .pop_surplus(records(&self.shared) + 1, counters.bytes.load(Relaxed) + size)
        {
            if self.remove_ended(oldest) {
                increment(&counters.evicted);
            }
        }
        if !self
            .retention
            .fits(records(&self.shared) + 1, counters.bytes.load(Relaxed) + size)
        {
            increment(&counters.refused);
            return None;
        }
        let pid = new.process.pid;
        let process = Arc::new(new.process);
        let image = Image {
            process: process.clone(),
            environment: new.environment,
            from,
            ended: false,
            until: KernelTime(0),
            serial: self.next_serial,
        };
        self.next_serial += 1;
        counters.bytes.fetch_add(size, Relaxed);
        counters.running.fetch_add(1, Relaxed);
        let oldest = {
            let mut shard = self.shared.write(pid);
            let images = shard.entry(pid).or_default();
            images.push(image);
            images
                .first()
                .filter(|_| images.len() > MAX_IMAGES_PER_PID)
                .map(|image| image.serial)
        };
        if let Some(serial) = oldest
            && self.remove(pid, serial)
        {
            increment(&self.shared.counters.evicted);
        }
        Some(process)
    }

    fn end(&mut self, image: &Image, until: KernelTime, now: Instant) {
        let pid = image.process.pid;
        let mut shard = self.shared.write(pid);
        let images = shard.get_mut(&pid).into_iter().flatten();
        for found in images.filter(|found| found.serial == image.serial && !found.ended) {
            found.ended = true;
            found.until = until;
            self.shared.counters.running.fetch_sub(1, Relaxed);
            self.shared.counters.ended.fetch_add(1, Relaxed);
            self.retention.ended(pid, found.serial, now);
        }
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some(ended) = self.retention.pop_expired(now) {
            if self.remove_ended(ended) {
                increment(&self.shared.counters.expired);
            }
        }
    }

    fn remove_ended(&self, ended: Ended) -> bool {
        self.remove(ended.pid, ended.serial)
    }

    /// Takes an image out; false if it is gone already.
    fn remove(&self, pid: Pid, serial: u64) -> bool {
        let mut shard = self.shared.write(pid);
        let Some(images) = shard.get_mut(&pid) else {
            return false;
        };
        let Some(position) = images.iter().position(|image| image.serial == serial) else {
            return false;
        };
        let image = images.remove(position);
        if images.is_empty() {
            shard.remove(&pid);
        }
        let counters = &self.shared.counters;
        let gauge = if image.ended {
            &counters.ended
        } else {
            &counters.running
        };
        gauge.fetch_sub(1, Relaxed);
        counters.bytes.fetch_sub(footprint(&image.process), Relaxed);
        true
    }
}

fn observed(image: &Image) -> Observed {
    Observed {
        process: image.process.as_ref().clone(),
        environment: image.environment.clone(),
    }
}
