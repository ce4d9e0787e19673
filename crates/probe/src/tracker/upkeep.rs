//! What happens by itself: the loader cache, looking around, trying again, letting go.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use qtap_capture::Pid;

use super::files::{Attachment, Content, Entry, Meaning};
use super::mounts::{Mount, Use};
use super::{Attacher, Source, Tracker};
use crate::identity::Inode;
use crate::{loader_cache, maps};

/// How often every process is looked at, in case an event was lost or a library unmapped.
pub(super) const RESYNC: Duration = Duration::from_secs(60);
/// How often what scans found is written down.
pub(super) const SAVE: Duration = Duration::from_secs(10);
/// How long a process that is gone is reported: its last connections may still be on the way.
const GRACE: Duration = Duration::from_secs(30);
/// Waiting processes remembered, of each kind.
const MAX_WAITING: usize = 8192;
/// Unused files that stay attached, and for how long.
const MAX_UNUSED: usize = 64;
const UNUSED_TTL: Duration = Duration::from_secs(600);

impl<A: Attacher> Tracker<A> {
    /// Attaches the libraries that the dynamic loader would find, before anybody maps them.
    pub(super) fn pin_loader_cache(&mut self) {
        self.loader_cache = loader_cache::modified();
        let paths = loader_cache::tls_libraries().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the loader cache: libraries are probed when they are first mapped");
            self.report.count(|counters| counters.scan_failures += 1);
            Vec::new()
        });
        let pinned: Vec<Inode> = paths.iter().filter_map(|path| self.pin(path)).collect();
        for (inode, entry) in self.files.iter_mut() {
            entry.pinned = pinned.contains(&inode);
        }
        self.attach_pinned(&pinned);
        self.count_gauges();
    }

    fn pin(&mut self, path: &Path) -> Option<Inode> {
        let admitted = (maps::open_regular(path).map_err(Into::into)).and_then(|file| {
            self.files
                .admit(file, &path.to_string_lossy(), &self.report, Instant::now())
        });
        match admitted {
            Ok(Meaning::File(inode)) => Some(inode),
            Ok(Meaning::Pending(inode)) => {
                self.pin_later(inode);
                None
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot scan library");
                self.report.count(|counters| counters.scan_failures += 1);
                None
            }
        }
    }

    /// Looks at every process of `/proc`.
    pub fn resync(&mut self) {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            tracing::warn!("cannot list /proc");
            return;
        };
        let alive: HashSet<Pid> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid))
            .collect();
        for pid in &alive {
            self.scan_process(*pid);
        }
        let gone: Vec<Pid> = self
            .processes
            .keys()
            .filter(|pid| !alive.contains(pid))
            .copied()
            .collect();
        for pid in gone {
            self.exited(pid);
        }
        self.next_resync = Instant::now() + RESYNC;
    }

    /// Does what is due; to be called about once a second.
    pub fn tick(&mut self, now: Instant) {
        for name in self.files.expire(now) {
            self.attacher.forget(name.device, name.inode);
        }
        self.files.scanner.hurry(now);
        self.save_cache(now);
        self.reread();
        self.end_grace(now);
        self.end_calls(now);
        self.retry(now);
        if loader_cache::modified() != self.loader_cache {
            self.pin_loader_cache();
        }
        if now >= self.next_resync {
            self.resync();
        }
        self.release_unused(now, None);
        self.count_gauges();
    }

    fn save_cache(&mut self, now: Instant) {
        if now >= self.next_save {
            self.next_save = now + SAVE;
            self.save();
        }
    }

    /// Writes down what scans found, for the next agent.
    pub(super) fn save(&mut self) {
        if let Err(error) = self.files.cache.save() {
            tracing::warn!(%error, "what scans found cannot be written down: the next agent scans again");
        }
    }

    /// Looks at files again that were written over in place. Their probes are taken off before anybody runs into one: a
    /// breakpoint in the middle of another instruction would end the program.
    fn reread(&mut self) {
        let mut is_pinned = false;
        let mut users = BTreeSet::new();
        for file in self.files.rewritten() {
            if let Some(entry) = self.let_go_of(file) {
                is_pinned |= entry.pinned;
                users.extend(entry.users);
            }
        }
        for pid in users {
            self.scan_process(pid);
        }
        if is_pinned {
            self.pin_loader_cache();
        }
    }

    /// Takes all probes off `file` and forgets what is in it.
    pub(super) fn let_go_of(&mut self, file: Inode) -> Option<Entry<A::Links>> {
        let mut entry = self.files.remove(file)?;
        tracing::info!(path = %entry.path, "file was written over in place: its probes are removed, and it is looked at again");
        self.report.count(|counters| counters.replaced += 1);
        entry.secrets = Attachment::None;
        entry.fallback = Attachment::None;
        entry.calls = Attachment::None;
        for process in self.processes.values_mut() {
            process.calls.remove(&file);
        }
        Some(entry)
    }

    /// Looks at `pid` again then: it has a file that could not be read.
    pub(super) fn retry_at(&mut self, due: Instant, pid: Pid) {
        if self.retries.len() < MAX_WAITING && !self.retries.iter().any(|(_, waiting)| *waiting == pid) {
            self.retries.push((due, pid));
        }
    }

    fn retry(&mut self, now: Instant) {
        let (due, waiting) = std::mem::take(&mut self.retries)
            .into_iter()
            .partition(|(due, _)| now >= *due);
        self.retries = waiting;
        let due: Vec<(Instant, Pid)> = due;
        for (_, pid) in due {
            self.scan_process(pid);
        }
        self.retry_attachments(now);
    }

    fn retry_attachments(&mut self, now: Instant) {
        let mut due: BTreeSet<Inode> = BTreeSet::new();
        let mut pinned = Vec::new();
        for (inode, entry) in self.files.iter_mut() {
            let slots = [&mut entry.secrets, &mut entry.fallback, &mut entry.calls];
            if slots
                .into_iter()
                .filter_map(|slot| slot.clear_if_due(now))
                .count()
                > 0
            {
                due.insert(inode);
            }
            if entry.pinned {
                pinned.push(inode);
            }
        }
        let mut concerned = Vec::new();
        for (pid, process) in &mut self.processes {
            let own = process
                .calls
                .values_mut()
                .filter_map(|slot| slot.clear_if_due(now))
                .count();
            if own > 0 || !process.files.is_disjoint(&due) {
                concerned.push(*pid);
            }
        }
        if pinned.iter().any(|inode| due.contains(inode)) {
            self.attach_pinned(&pinned);
        }
        for pid in concerned {
            self.sync(pid);
        }
    }

    /// What files need that no process has mapped yet.
    pub(super) fn attach_pinned(&mut self, pinned: &[Inode]) {
        for file in pinned {
            self.attach_shared(*file);
        }
        for crypto in self.needed_crypto(pinned) {
            self.attach_fallback(pinned, crypto);
        }
    }

    /// Keeps what is known of `pid` for its last connections.
    pub(super) fn bury(&mut self, pid: Pid) {
        if self.graves.len() >= MAX_WAITING
            && let Some((_, oldest)) = self.graves.pop_front()
            && !self.processes.contains_key(&oldest)
        {
            self.report.set(oldest, None);
        }
        self.graves.push_back((Instant::now() + GRACE, pid));
    }

    fn end_grace(&mut self, now: Instant) {
        while self.graves.front().is_some_and(|(due, _)| now >= *due) {
            let Some((_, pid)) = self.graves.pop_front() else {
                break;
            };
            // The number may be in use again.
            if !self.processes.contains_key(&pid) {
                self.report.set(pid, None);
            }
        }
    }

    /// Takes off the call probes that nobody has needed for a while.
    fn end_calls(&mut self, now: Instant) {
        let mut ended = Vec::new();
        for (pid, process) in &mut self.processes {
            if process.calls_end.is_some_and(|end| now >= end) {
                process.drop_calls();
                ended.push(*pid);
            }
        }
        for pid in ended {
            self.publish(pid);
        }
    }

    /// Lets go of files that nobody maps, but those that somebody is likely to map again; `leaving` is a process that is about to be gone.
    fn release_unused(&mut self, now: Instant, leaving: Option<Pid>) {
        let unused = || (self.files.iter()).filter(|(_, entry)| entry.is_unused());
        let mut last_used: Vec<Instant> = unused().map(|(_, entry)| entry.last_used).collect();
        last_used.sort_unstable_by(|a, b| b.cmp(a));
        let too_many = last_used.get(MAX_UNUSED).copied();
        let mounts: HashMap<Mount, Use> = unused()
            .filter_map(|(inode, entry)| {
                let used = Use {
                    namespace: entry.namespace,
                    device: inode.device,
                };
                Some((entry.mount?, used))
            })
            .collect();
        self.mounts.retain(|mount| mounts.contains_key(&mount));
        let busy: HashSet<Mount> = (mounts.into_iter())
            .filter(|(mount, used)| self.mounts.is_busy(*mount, *used, leaving))
            .map(|(mount, _)| mount)
            .collect();
        let released = self.files.take_out(|entry| {
            let lately = now.saturating_duration_since(entry.last_used) < UNUSED_TTL;
            !entry.is_unused()
                || (lately
                    && !entry.is_unlinked()
                    && entry.mount.is_none_or(|mount| busy.contains(&mount))
                    && too_many.is_none_or(|limit| entry.last_used > limit))
        });
        for entry in released {
            tracing::debug!(path = %entry.path, "releasing file that nobody maps");
            for attachment in [entry.secrets, entry.fallback, entry.calls] {
                if let Attachment::Attached { links, .. } = attachment {
                    self.remover.remove(links);
                }
            }
        }
    }

    /// `pid` is about to be gone, and has left `files`: a file that keeps a file system from being unmounted from now on is not left to the next tick.
    pub(super) fn release_mounts(&mut self, pid: Pid, files: &BTreeSet<Inode>) {
        let frees = |file: &Inode| {
            let entry = self.files.get(*file)?;
            Some(entry.is_unused() && !self.mounts.is_permanent(entry.mount?))
        };
        if self.mounts.is_holder(pid) || files.iter().any(|file| frees(file) == Some(true)) {
            self.release_unused(Instant::now(), Some(pid));
        }
    }

    /// Brings the gauges up to date.
    pub(super) fn count_gauges(&self) {
        let mut attached = 0;
        let mut unsupported: BTreeMap<String, u64> = BTreeMap::new();
        for (_, entry) in self.files.iter() {
            attached += u64::from(entry.is_attached());
            let reason = match &entry.content {
                Content::Nothing => None,
                Content::Foreign(reason) => Some(reason.clone()),
                Content::Tls(classification) => classification.unsupported(),
            };
            if let Some(reason) = reason {
                *unsupported.entry(reason).or_default() += 1;
            }
        }
        self.report.count(|counters| {
            counters.attached_inodes = attached;
            counters.unsupported_inodes = unsupported;
        });
    }

    /// Where plaintext comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }
}
