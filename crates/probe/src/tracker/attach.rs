//! Attaching what a process needs, and saying what it got.

use std::path::Path;
use std::time::Instant;

use qtap_capture::{Hook, Pid};

use super::files::{Attachment, Content, Entry, RETRY};
use super::{Attacher, Source, Tracker};
use crate::classify::Point;
use crate::identity::Inode;
use crate::implementation::{Crypto, Implementation};
use crate::report::{Implementations, LibraryTls, ProcessTls};

impl<A: Attacher> Tracker<A> {
    /// Attaches what the files of `pid` need and publishes the result.
    pub(super) fn sync(&mut self, pid: Pid) {
        let Some(process) = self.processes.get(&pid) else {
            return;
        };
        let wants_calls = process.wants_calls && self.source == Source::Auto;
        let files: Vec<Inode> = process.files.iter().copied().collect();
        for file in &files {
            self.attach_shared(*file);
        }
        for crypto in self.needed_crypto(&files) {
            self.attach_fallback(&files, crypto);
        }
        if wants_calls {
            self.attach_calls_of(pid, &files);
        }
        self.publish(pid);
    }

    /// What is attached for everybody: secrets, or calls if that is the source.
    pub(super) fn attach_shared(&mut self, file: Inode) {
        let (attacher, source, report) = (&self.attacher, self.source, &self.report);
        let Some(entry) = self.files.get_mut(file) else {
            return;
        };
        let Content::Tls(classification) = &entry.content else {
            return;
        };
        let (slot, points) = match source {
            Source::Calls => (&mut entry.calls, &classification.calls),
            Source::Auto | Source::Secrets => (&mut entry.secrets, &classification.secrets),
        };
        let fresh = ensure(
            attacher,
            report,
            &entry.path,
            entry.file.as_ref(),
            None,
            points,
            slot,
        );
        if fresh {
            let library = classification.implementations.first().copied();
            log_shared(library, &entry.path);
        }
    }

    /// The cryptographic libraries that the TLS libraries among `files` need probed.
    pub(super) fn needed_crypto(&self, files: &[Inode]) -> Vec<Crypto> {
        if self.source == Source::Calls {
            return Vec::new();
        }
        let mut needed: Vec<Crypto> = (files
            .iter()
            .filter_map(|file| self.files.get(*file)?.classification()))
        .filter_map(|classification| classification.needs_crypto())
        .collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// Attaches the fall-back points of the `crypto` library among `files`.
    pub(super) fn attach_fallback(&mut self, files: &[Inode], crypto: Crypto) {
        for file in files {
            let (attacher, report) = (&self.attacher, &self.report);
            let Some(entry) = self.files.get_mut(*file) else {
                continue;
            };
            let Content::Tls(classification) = &entry.content else {
                continue;
            };
            if classification.crypto == Some(crypto) {
                let points = &classification.fallback;
                ensure(
                    attacher,
                    report,
                    &entry.path,
                    entry.file.as_ref(),
                    None,
                    points,
                    &mut entry.fallback,
                );
            }
        }
    }

    fn attach_calls_of(&mut self, pid: Pid, files: &[Inode]) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        for file in files {
            let Some(entry) = self.files.get(*file) else {
                continue;
            };
            let Some(classification) = entry.classification() else {
                continue;
            };
            if classification.calls.is_empty() {
                continue;
            }
            let slot = process.calls.entry(*file).or_insert(Attachment::None);
            let points = &classification.calls;
            ensure(
                &self.attacher,
                &self.report,
                &entry.path,
                entry.file.as_ref(),
                Some(pid),
                points,
                slot,
            );
        }
    }

    /// Tells what `pid` has and what of it is seen.
    pub(super) fn publish(&self, pid: Pid) {
        let Some(process) = self.processes.get(&pid) else {
            return;
        };
        let files: Vec<Inode> = process.files.iter().copied().collect();
        let mut found = ProcessTls::default();
        for file in &files {
            let Some(entry) = self.files.get(*file) else {
                continue;
            };
            let (implementations, unsupported) = match &entry.content {
                Content::Nothing => continue,
                Content::Foreign(reason) => (Vec::new(), Some(reason.clone())),
                Content::Tls(classification) if classification.implementations.is_empty() => continue,
                Content::Tls(classification) => (
                    classification.implementations.clone(),
                    classification.unsupported(),
                ),
            };
            let fallback = self.fallback_of(entry, &files);
            let own_calls = process.calls.get(file);
            let refusal = [
                Some(&entry.secrets),
                fallback.map(|(_, slot)| slot),
                own_calls,
                Some(&entry.calls),
            ]
            .into_iter()
            .flatten()
            .find_map(Attachment::refusal);
            found.libraries.push(LibraryTls {
                implementations,
                path: entry.path.clone(),
                secrets_since: fallback.map_or(entry.secrets.since(), |(_, slot)| slot.since()),
                calls_since: own_calls.and_then(Attachment::since).or(entry.calls.since()),
                reason: (entry.proofs.refuted.clone())
                    .or(unsupported)
                    .or_else(|| refusal.map(str::to_owned)),
            });
        }
        let is_empty = found.libraries.is_empty();
        self.report.set(pid, (!is_empty).then_some(found));
    }

    /// The attachment that serves `entry`'s secrets in its stead, if it needs one and a file of the process has it.
    fn fallback_of(
        &self,
        entry: &Entry<A::Links>,
        files: &[Inode],
    ) -> Option<(Crypto, &Attachment<A::Links>)> {
        let crypto = entry.classification()?.needs_crypto()?;
        let serves = |file: &Inode| {
            let other = self.files.get(*file)?;
            (other.classification()?.crypto == Some(crypto)).then_some((crypto, &other.fallback))
        };
        files.iter().find_map(serves)
    }
}

/// Attaches `points` of a file into `slot` unless that was tried already. Says whether it was done now.
fn ensure<A: Attacher>(
    attacher: &A,
    report: &Implementations,
    path: &str,
    file: Option<&std::fs::File>,
    pid: Option<Pid>,
    points: &[Point],
    slot: &mut Attachment<A::Links>,
) -> bool {
    use std::os::fd::AsRawFd;
    let Some(file) = file.filter(|_| !points.is_empty() && slot.is_open()) else {
        return false;
    };
    for point in points {
        let (function, address) = (point.hook, format_args!("{:#x}", point.offset));
        tracing::debug!(path, pid = pid.map(|pid| pid.0), ?function, symbol = %point.symbol, %address, "attaching probe");
    }
    let places: Vec<(Hook, u64)> = points.iter().map(|point| (point.hook, point.offset)).collect();
    // By descriptor: the path may mean another file here, or nothing, and the process may be gone.
    let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    match attacher.attach(Path::new(&by_descriptor), pid, &places) {
        Ok(links) => {
            *slot = Attachment::Attached {
                links,
                since: qtap_capture::now(),
            };
            true
        }
        Err(reason) if pid.is_some_and(|pid| !Path::new(&format!("/proc/{}", pid.0)).exists()) => {
            // It ended in the meantime: nothing is missed.
            tracing::debug!(
                path,
                pid = pid.map(|pid| pid.0),
                reason,
                "process ended before its probes"
            );
            *slot = Attachment::Refused {
                reason,
                retry_at: Instant::now() + RETRY,
            };
            false
        }
        Err(reason) => {
            tracing::warn!(path, pid = pid.map(|pid| pid.0), reason, "cannot attach probes");
            report.count(|counters| counters.attach_failures += 1);
            *slot = Attachment::Refused {
                reason: format!("cannot attach probes to {path}: {reason}"),
                retry_at: Instant::now() + RETRY,
            };
            false
        }
    }
}

fn log_shared(library: Option<Implementation>, path: &str) {
    match library {
        Some(Implementation::OpenSsl) => tracing::debug!(path, "attached OpenSSL probes (shared)"),
        Some(Implementation::GnuTls) => tracing::debug!(path, "attached GnuTLS probes (shared)"),
        Some(Implementation::GoTls) => tracing::debug!(path, "attached Go probes (shared)"),
        other => tracing::debug!(
            path,
            library = other.map(Implementation::name),
            "attached probes (shared)"
        ),
    }
}
