//! The files that processes have mapped, by what they are, with their attachments.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qtap_capture::{KernelTime, Pid};

use super::mounts::{Mount, Namespace};
use super::proof::Proofs;
use super::scanner::{Scanned, Scanner};
use crate::cache::ScanCache;
use crate::classify::{Classification, ClassifyError, classify};
use crate::elf::ElfError;
use crate::identity::{FileIdentity, Inode};
use crate::report::Implementations;

/// How long "nothing of TLS in it" is believed without looking at the file again. It bounds how long a new file that
/// got the inode number of a deleted one goes unseen.
const NEGATIVE_TTL: Duration = Duration::from_secs(600);
/// First wait after a failure; doubles up to [`NEGATIVE_TTL`].
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// Names remembered. At the limit all are forgotten and learnt again.
const MAX_NAMES: usize = 32 * 1024;

/// What is in a file.
#[derive(Debug)]
pub(super) enum Content {
    /// No TLS code.
    Nothing,
    /// Code that we cannot look into, and why.
    Foreign(String),
    /// TLS code.
    Tls(Box<Classification>),
}

/// Probes on one file.
#[derive(Debug)]
pub(super) enum Attachment<L> {
    /// Not asked for.
    None,
    /// They are on.
    Attached { links: L, since: KernelTime },
    /// They were refused.
    Refused { reason: String, retry_at: Instant },
}

impl<L> Attachment<L> {
    pub(super) fn since(&self) -> Option<KernelTime> {
        match self {
            Self::Attached { since, .. } => Some(*since),
            _ => None,
        }
    }

    pub(super) fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Whether nothing was tried yet, or it is time to try again ([`Self::clear_if_due`]).
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Makes a refused attachment open again when its time has come.
    pub(super) fn clear_if_due(&mut self, now: Instant) -> Option<()> {
        let due = matches!(self, Self::Refused { retry_at, .. } if now >= *retry_at);
        due.then(|| *self = Self::None)
    }
}

/// One file, attached once whoever maps it.
#[derive(Debug)]
pub(super) struct Entry<L> {
    pub(super) identity: FileIdentity,
    pub(super) path: Arc<str>,
    pub(super) content: Content,
    /// Kept open for attaching later, when the process through which it was found may be gone. Only with TLS code.
    pub(super) file: Option<File>,
    /// What `file` keeps from being unmounted.
    pub(super) mount: Option<Mount>,
    /// Where that mount is, if not in the agent's own.
    pub(super) namespace: Option<Namespace>,
    pub(super) secrets: Attachment<L>,
    pub(super) fallback: Attachment<L>,
    /// For everybody; those for single processes are with the process.
    pub(super) calls: Attachment<L>,
    /// What is known of its inferred functions.
    pub(super) proofs: Proofs,
    pub(super) users: HashSet<Pid>,
    /// The dynamic loader would find it: stays attached without users.
    pub(super) pinned: bool,
    pub(super) last_used: Instant,
}

impl<L> Entry<L> {
    pub(super) fn classification(&self) -> Option<&Classification> {
        match &self.content {
            Content::Tls(classification) => Some(classification),
            _ => None,
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        [&self.secrets, &self.fallback, &self.calls]
            .iter()
            .any(|attachment| attachment.since().is_some())
    }

    /// Whether it can be let go of.
    pub(super) fn is_unused(&self) -> bool {
        self.users.is_empty() && !self.pinned
    }

    fn is_rewritten(&self) -> bool {
        let now = self.file.as_ref().and_then(|file| FileIdentity::of(file).ok());
        now.is_some_and(|now| now != self.identity)
    }

    /// Deleted or replaced: nobody will map it again.
    pub(super) fn is_unlinked(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .is_some_and(|metadata| metadata.nlink() == 0)
    }
}

/// What a name (device and inode as somebody reports them) stands for.
#[derive(Debug)]
struct Name {
    meaning: Meaning,
    expires: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The file with this `stat(2)` identity.
    File(Inode),
    /// It has no TLS code.
    Nothing,
    /// The file with this `stat(2)` identity is being scanned.
    Pending(Inode),
    /// It could not be read so many times.
    Failed(u32),
}

/// All files, and all names that they go by: `/proc/PID/maps`, `stat(2)` and the kernel's events may give one file
/// different device numbers (btrfs, overlayfs).
#[derive(Debug)]
pub(super) struct Files<L> {
    entries: HashMap<Inode, Entry<L>>,
    names: HashMap<Inode, Name>,
    pub(super) cache: ScanCache,
    pub(super) scanner: Scanner,
    /// Files that are being scanned.
    pending: HashSet<FileIdentity>,
}

impl<L> Files<L> {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            names: HashMap::new(),
            cache: ScanCache::default(),
            scanner: Scanner::closed(),
            pending: HashSet::new(),
        }
    }

    pub(super) fn get(&self, file: Inode) -> Option<&Entry<L>> {
        self.entries.get(&file)
    }

    pub(super) fn get_mut(&mut self, file: Inode) -> Option<&mut Entry<L>> {
        self.entries.get_mut(&file)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Inode, &Entry<L>)> {
        self.entries.iter().map(|(inode, entry)| (*inode, entry))
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry<L>> {
        self.entries.into_values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Inode, &mut Entry<L>)> {
        self.entries.iter_mut().map(|(inode, entry)| (*inode, entry))
    }

    /// What `name` stands for, as far as it is known and still believed.
    pub(super) fn meaning(&self, name: Inode, now: Instant) -> Option<Meaning> {
        self.names
            .get(&name)
            .filter(|known| now < known.expires)
            .map(|known| known.meaning)
    }

    /// Gives `name` a meaning; returns the names that had to be forgotten for it.
    pub(super) fn learn(&mut self, name: Inode, meaning: Meaning, now: Instant) -> Vec<Inode> {
        let ttl = match meaning {
            Meaning::Failed(times) => RETRY
                .saturating_mul(1 << times.saturating_sub(1).min(7))
                .min(NEGATIVE_TTL),
            Meaning::File(_) | Meaning::Nothing | Meaning::Pending(_) => NEGATIVE_TTL,
        };
        let is_full = self.names.len() >= MAX_NAMES;
        let forgotten = if is_full {
            self.forget_names(|_| false)
        } else {
            Vec::new()
        };
        let expires = now + ttl;
        self.names.insert(name, Name { meaning, expires });
        forgotten
    }

    /// When the meaning of `name` stops being believed.
    pub(super) fn expiry(&self, name: Inode) -> Option<Instant> {
        self.names.get(&name).map(|known| known.expires)
    }

    /// How often reading `name` failed so far.
    pub(super) fn failures(&self, name: Inode) -> u32 {
        match self.names.get(&name).map(|known| known.meaning) {
            Some(Meaning::Failed(times)) => times,
            _ => 0,
        }
    }

    /// Forgets names whose time is over; returns those that stood for nothing, which the kernel does not report.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Inode> {
        // A failure stays a while longer, so that the next one knows that it is not the first.
        self.forget_names(|known| match known.meaning {
            Meaning::Failed(_) => now < known.expires + NEGATIVE_TTL,
            _ => now < known.expires,
        })
    }

    fn forget_names(&mut self, keep: impl Fn(&Name) -> bool) -> Vec<Inode> {
        let mut silenced = Vec::new();
        self.names.retain(|name, known| {
            let keeps = keep(known);
            if !keeps && known.meaning == Meaning::Nothing {
                silenced.push(*name);
            }
            keeps
        });
        silenced
    }

    /// Takes `file` in: classifies it unless that was done already for the same content, or has that done ([`Meaning::Pending`]).
    pub(super) fn admit(
        &mut self,
        file: File,
        path: &str,
        report: &Implementations,
        now: Instant,
    ) -> Result<Meaning, ClassifyError> {
        let identity = FileIdentity::of(&file)?;
        if let Some(entry) = self.entries.get_mut(&identity.inode) {
            if entry.identity == identity {
                entry.last_used = now;
                return Ok(Meaning::File(identity.inode));
            }
            // Written over in place: its probes are at the wrong places now.
            tracing::debug!(path, "file changed in place, scanning again");
            report.count(|counters| counters.replaced += 1);
        }
        let former = self.entries.remove(&identity.inode);
        if self.pending.contains(&identity) {
            return Ok(Meaning::Pending(identity.inode));
        }
        let content = match self.cached(&file, path, report) {
            Some(content) => content,
            None if self.scanner.is_for(identity) => {
                match self.scanner.submit(file.try_clone()?, path, identity) {
                    Ok(()) => {
                        self.pending.insert(identity);
                        return Ok(Meaning::Pending(identity.inode));
                    }
                    // Too many wait: this one is scanned here.
                    Err(file) => self.scanned(&file, path, report)?,
                }
            }
            None => self.scanned(&file, path, report)?,
        };
        Ok(self.take_in(file, path, identity, content, former, now))
    }

    /// Takes in what the scanner found. `None`: the file was written to meanwhile.
    pub(super) fn admit_scanned(
        &mut self,
        scanned: Scanned,
        now: Instant,
    ) -> Result<Option<Meaning>, ClassifyError> {
        let Scanned {
            file,
            path,
            identity,
            outcome,
        } = scanned;
        self.pending.remove(&identity);
        let content = outcome?;
        if FileIdentity::of(&file)? != identity {
            return Ok(None);
        }
        self.remember(&file, &content);
        let former = self.entries.remove(&identity.inode);
        Ok(Some(self.take_in(file, &path, identity, content, former, now)))
    }

    fn take_in(
        &mut self,
        file: File,
        path: &str,
        identity: FileIdentity,
        content: Content,
        former: Option<Entry<L>>,
        now: Instant,
    ) -> Meaning {
        if matches!(content, Content::Nothing) {
            return Meaning::Nothing;
        }
        let file = matches!(content, Content::Tls(_)).then_some(file);
        let mount = file.as_ref().and_then(Mount::of);
        let entry = Entry {
            identity,
            path: Arc::from(path),
            content,
            file,
            mount,
            namespace: None,
            secrets: Attachment::None,
            fallback: Attachment::None,
            calls: Attachment::None,
            proofs: Proofs::default(),
            pinned: former.as_ref().is_some_and(|former| former.pinned),
            users: former.map(|former| former.users).unwrap_or_default(),
            last_used: now,
        };
        self.entries.insert(identity.inode, entry);
        Meaning::File(identity.inode)
    }

    fn cached(&mut self, file: &File, path: &str, report: &Implementations) -> Option<Content> {
        let found = self.cache.get(file)?;
        report.count(|counters| counters.cached += 1);
        tracing::debug!(path, "what is in the file is known from a former scan");
        Some(found.map_or(Content::Nothing, |found| Content::Tls(Box::new(found))))
    }

    fn scanned(
        &mut self,
        file: &File,
        path: &str,
        report: &Implementations,
    ) -> Result<Content, ClassifyError> {
        let content = scan(file, path, report)?;
        self.remember(file, &content);
        Ok(content)
    }

    fn remember(&mut self, file: &File, content: &Content) {
        match content {
            Content::Tls(found) => self.cache.put(file, Some((**found).clone())),
            Content::Nothing => self.cache.put(file, None),
            Content::Foreign(_) => {}
        }
    }

    /// Whether `file` was written to since it was read: its probes may be at the wrong places now. A `stat(2)`.
    pub(super) fn is_rewritten(&self, file: Inode) -> bool {
        self.entries.get(&file).is_some_and(Entry::is_rewritten)
    }

    /// All of which that is so.
    pub(super) fn rewritten(&self) -> Vec<Inode> {
        let rewritten = self.entries.iter().filter(|(_, entry)| entry.is_rewritten());
        rewritten.map(|(inode, _)| *inode).collect()
    }

    /// Drops one entry, links and all, and the names that led to it.
    pub(super) fn remove(&mut self, file: Inode) -> Option<Entry<L>> {
        self.names.retain(|_, known| known.meaning != Meaning::File(file));
        self.entries.remove(&file)
    }

    /// Takes out those for which `keep` is false, and the names that led to them.
    pub(super) fn take_out(&mut self, mut keep: impl FnMut(&Entry<L>) -> bool) -> Vec<Entry<L>> {
        let out: Vec<Entry<L>> = (self.entries.extract_if(|_, entry| !keep(entry)))
            .map(|(_, entry)| entry)
            .collect();
        if !out.is_empty() {
            let entries = &self.entries;
            self.names.retain(|_, known| match known.meaning {
                Meaning::File(inode) => entries.contains_key(&inode),
                _ => true,
            });
        }
        out
    }
}

/// Looks into a file, here and now.
pub(super) fn scan(file: &File, path: &str, report: &Implementations) -> Result<Content, ClassifyError> {
    let start = Instant::now();
    let found = classify(file);
    let elapsed = start.elapsed();
    report.count(|counters| {
        counters.scans += 1;
        counters.scan_time += elapsed;
    });
    match found {
        Ok(classification) if classification.is_relevant() => {
            let hash = classification
                .build_id
                .as_ref()
                .map_or_else(String::new, ToString::to_string);
            let mtime = i64::try_from(classification.identity.mtime_ns / 1_000_000_000).unwrap_or(0);
            tracing::debug!(path, hash, mtime, ?elapsed, "scanning target");
            for missing in &classification.missing {
                tracing::debug!(
                    path,
                    symbol = %missing.symbol,
                    reason = missing.reason,
                    "function not found"
                );
            }
            Ok(Content::Tls(Box::new(classification)))
        }
        Ok(_) | Err(ClassifyError::Elf(ElfError::NotElf)) => Ok(Content::Nothing),
        Err(ClassifyError::Elf(error @ (ElfError::Class32 | ElfError::ForeignMachine(_)))) => {
            Ok(Content::Foreign(error.to_string()))
        }
        Err(error) => Err(error),
    }
}
