//! What the files are that a process has mapped.
//!
//! A process may end at any time, and the way to its files with it. So those that nobody knows yet are opened before the first of them is read: that
//! takes some 10 µs a file, and reading 0.1 to 3 ms. Files with the name of a TLS library come first, as the process may be about to use them, and are
//! probed before the others are read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use qtap_capture::{ExecutableMapped, Pid};

use super::files::{self, Meaning};
use super::{Attacher, Tracker};
use crate::identity::{FileIdentity, Inode};
use crate::loader_cache;
use crate::maps::{self, Mapping};

/// Files that are opened before one of them is read.
const OPENED_AHEAD: usize = 64;

impl<A: Attacher> Tracker<A> {
    /// A file that is not marked as known was mapped executable.
    pub fn mapped(&mut self, event: &ExecutableMapped) {
        let name = Inode {
            device: event.device,
            inode: event.inode,
        };
        let meaning = match self.known(name, Instant::now()) {
            Some(meaning) => Some(meaning),
            None => self.meet(event, name),
        };
        match meaning {
            Some(Meaning::File(file)) => self.add_file(event.pid, file),
            // The kernel asked although it was told: its memory is bounded too.
            Some(Meaning::Nothing) => self.attacher.mark_known(name.device, name.inode),
            Some(Meaning::Failed(_) | Meaning::Pending(_)) | None => {}
        }
    }

    /// Looks at all that the process has mapped by now: what it maps next is on its way here, and the process may be gone by then.
    fn meet(&mut self, event: &ExecutableMapped, name: Inode) -> Option<Meaning> {
        if is_ourselves(event.pid) {
            return None;
        }
        let mappings = maps::read_maps(event.pid).ok()?;
        self.look_at(event.pid, &mappings);
        let holds = |mapping: &&Mapping| (mapping.start..mapping.end).contains(&event.address);
        let mapping = mappings.iter().find(holds)?;
        let meaning = self.known(mapping.inode, Instant::now())?;
        // What the kernel calls it and what maps calls it may differ.
        if mapping.inode != name {
            self.learn(name, meaning);
        }
        Some(meaning)
    }

    /// Looks at all mappings of `pid`.
    pub(super) fn scan_process(&mut self, pid: Pid) {
        if is_ourselves(pid) {
            return;
        }
        let mappings = match maps::read_maps(pid) {
            Ok(mappings) => mappings,
            Err(error) => {
                tracing::trace!(pid = pid.0, %error, "process cannot be inspected");
                return;
            }
        };
        let files = self.look_at(pid, &mappings);
        self.set_files(pid, files);
    }

    /// What `name` stands for, if it is known and what is known still holds.
    fn known(&mut self, name: Inode, now: Instant) -> Option<Meaning> {
        let meaning = self.files.meaning(name, now)?;
        match meaning {
            Meaning::File(file) if self.files.is_rewritten(file) => {
                self.let_go_of(file);
                None
            }
            meaning => Some(meaning),
        }
    }

    /// The files with TLS code among `mappings`, reading those that nobody read yet. What is found in them is probed at once.
    fn look_at(&mut self, pid: Pid, mappings: &[Mapping]) -> BTreeSet<Inode> {
        let now = Instant::now();
        let (mut files, mut unknown, mut names) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        for mapping in mappings {
            match self.known(mapping.inode, now) {
                Some(Meaning::File(file)) => {
                    files.insert(file);
                }
                Some(Meaning::Failed(_)) => self.retry_when_due(pid, mapping.inode),
                Some(Meaning::Nothing | Meaning::Pending(_)) => {}
                None if names.insert(mapping.inode) => unknown.push(mapping),
                None => {}
            }
        }
        unknown.sort_by_key(|mapping| !is_likely(mapping));
        for some in unknown.chunks(OPENED_AHEAD) {
            let opened: Vec<(&Mapping, io::Result<File>)> = (some.iter())
                .map(|mapping| (*mapping, maps::open_mapping(pid, mapping)))
                .collect();
            for (mapping, file) in opened {
                if let Some(Meaning::File(file)) = self.read(pid, mapping, file) {
                    files.insert(file);
                    self.add_file(pid, file);
                }
            }
        }
        files
    }

    /// What the file behind `mapping` is, which nobody has read yet.
    fn read(&mut self, pid: Pid, mapping: &Mapping, file: io::Result<File>) -> Option<Meaning> {
        let now = Instant::now();
        let file = match file {
            Ok(file) => file,
            // The process ended or unmapped it: no fault of the file.
            Err(error) if maps::is_gone(&error) => return None,
            Err(error) => return Some(self.failed(pid, mapping, &error)),
        };
        let path = mapping.path.to_string_lossy();
        let is_young = FileIdentity::of(&file).is_ok_and(|identity| identity.is_young());
        let meaning = match self.files.admit(file, &path, &self.report, now) {
            // Half of a library has no TLS code yet: that is not believed.
            Ok(Meaning::Nothing) if is_young => {
                self.retry_at(now + files::RETRY, pid);
                return None;
            }
            Ok(Meaning::Pending(file)) => {
                self.wait_for(file, pid, mapping.inode);
                return None;
            }
            Ok(meaning) => meaning,
            Err(error) => return Some(self.failed(pid, mapping, &error)),
        };
        self.learn(mapping.inode, meaning);
        Some(meaning)
    }

    fn failed(&mut self, pid: Pid, mapping: &Mapping, error: &dyn std::error::Error) -> Meaning {
        tracing::debug!(path = %mapping.path.display(), pid = pid.0, %error, "cannot scan file, will try again");
        self.report.count(|counters| counters.scan_failures += 1);
        let meaning = Meaning::Failed(self.files.failures(mapping.inode).saturating_add(1));
        self.learn(mapping.inode, meaning);
        self.retry_when_due(pid, mapping.inode);
        meaning
    }

    fn retry_when_due(&mut self, pid: Pid, name: Inode) {
        if let Some(due) = self.files.expiry(name) {
            self.retry_at(due, pid);
        }
    }

    pub(super) fn learn(&mut self, name: Inode, meaning: Meaning) {
        let forgotten = self.files.learn(name, meaning, Instant::now());
        for name in forgotten {
            self.attacher.forget(name.device, name.inode);
        }
        if meaning == Meaning::Nothing {
            self.attacher.mark_known(name.device, name.inode);
        }
    }

    /// `pid` has this file mapped, too.
    fn add_file(&mut self, pid: Pid, file: Inode) {
        let mut files =
            (self.processes.get(&pid)).map_or_else(BTreeSet::new, |process| process.files.clone());
        files.insert(file);
        self.set_files(pid, files);
    }
}

/// The agent itself has key-log texts in it.
fn is_ourselves(pid: Pid) -> bool {
    pid.0 == std::process::id()
}

/// Whether it is called like a TLS library.
fn is_likely(mapping: &Mapping) -> bool {
    (mapping.path.file_name()).is_some_and(|name| loader_cache::is_of_interest(name.as_bytes()))
}
