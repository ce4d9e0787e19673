//! Functions that were found by inference prove themselves, or are let go.
//!
//! Wrong ones show in two ways: what is hit looks otherwise than the function that it should be, which the kernel side sees at the first hit; or
//! the secrets that it hands out open no record, which the engine sees. A function is acquitted for good by the first record that opens under a
//! secret of its own, wherever. Until then it is let go of for one record that certainly was to open, or for two that most likely were:
//! the thread that told whose the secret is may err.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use qtap_capture::{Misfit, Pid};

use super::files::{Attachment, Content, Meaning};
use super::{Attacher, Tracker};
use crate::classify::{Found, Missing, Point};
use crate::identity::Inode;
use crate::maps::{self, Mapping};

/// Records that have to fail before a function is let go of, where it is not certain that they should have opened.
const LIKELY_FAILURES: u32 = 2;
/// Of the smallest pages.
const PAGE_BITS: u32 = 12;

/// What is known of the inferred functions of one file.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    /// By offset in the file: `None` once a record opened, else how many did not.
    failures: BTreeMap<u64, Option<u32>>,
    /// Why the last one was let go of.
    pub(super) refuted: Option<String>,
}

impl Proofs {
    fn prove(&mut self, offset: u64) {
        self.failures.insert(offset, None);
    }

    fn is_proved(&self, offset: u64) -> bool {
        self.failures.get(&offset) == Some(&None)
    }

    /// A record failed; tells whether that is enough.
    fn fail(&mut self, offset: u64, is_certain: bool) -> bool {
        match self.failures.entry(offset).or_insert(Some(0)) {
            None => false,
            Some(count) => {
                *count += if is_certain { LIKELY_FAILURES } else { 1 };
                *count >= LIKELY_FAILURES
            }
        }
    }
}

fn is_inferred(point: &&Point) -> bool {
    point.found != Found::Symbol
}

impl<A: Attacher> Tracker<A> {
    /// The first hit of a function tells that it is another one.
    pub(super) fn misfit(&mut self, misfit: &Misfit) {
        let Some(process) = self.processes.get(&misfit.pid) else {
            return;
        };
        let files: Vec<Inode> = process.files.iter().copied().collect();
        let is_wrong = |point: &&Point| point.hook == misfit.hook && point.found == Found::CrossReference;
        for file in files {
            let wrong = (self.files.get(file))
                .and_then(|entry| entry.classification()?.secrets.iter().find(is_wrong))
                .cloned();
            if let Some(point) = wrong {
                let why = format!("what was taken for {} is another function", point.symbol);
                self.refute(file, &point, &why);
            }
        }
    }

    /// A record opened under a secret of the function at `address` of `pid`.
    pub(super) fn proved(&mut self, pid: Pid, address: u64) {
        if let Some((file, point)) = self.inferred_at(pid, address)
            && let Some(entry) = self.files.get_mut(file)
        {
            entry.proofs.prove(point.offset);
        }
    }

    /// A record did not that should have.
    pub(super) fn failed_proof(&mut self, pid: Pid, address: u64, is_certain: bool) {
        let Some((file, point)) = self.inferred_at(pid, address) else {
            return;
        };
        let Some(entry) = self.files.get_mut(file) else {
            return;
        };
        let is_enough = entry.proofs.fail(point.offset, is_certain);
        tracing::debug!(path = %entry.path, symbol = %point.symbol, is_certain, is_enough, "a secret of an inferred function opens no record");
        if is_enough {
            let why = format!(
                "the secrets of what was taken for {} open no record",
                point.symbol
            );
            self.refute(file, &point, &why);
        }
    }

    /// The inferred function at `address` of `pid`, if it is not proved yet. Reads the mappings of the process only if one may be.
    fn inferred_at(&self, pid: Pid, address: u64) -> Option<(Inode, Point)> {
        let process = self.processes.get(&pid)?;
        let candidates: Vec<(Inode, &Point)> = (process.files.iter())
            .filter_map(|file| Some((*file, self.files.get(*file)?)))
            .flat_map(|(file, entry)| {
                let points = entry.classification().map(|found| found.secrets.iter());
                (points.into_iter().flatten().filter(is_inferred))
                    .filter(move |point| !entry.proofs.is_proved(point.offset))
                    .map(move |point| (file, point))
            })
            .collect();
        // Pages of 4 KiB at least: the lowest bits of an address are those of the offset.
        let is_alike = |point: &Point| (point.offset ^ address).trailing_zeros() >= PAGE_BITS;
        let mut alike = candidates.iter().filter(|(_, point)| is_alike(point));
        let (first, second) = (alike.next()?, alike.next());
        let (file, point) = match maps::read_maps(pid) {
            Ok(mappings) => {
                let holds = |mapping: &&Mapping| (mapping.start..mapping.end).contains(&address);
                let mapping = mappings.iter().find(holds)?;
                let offset = address - mapping.start + mapping.offset;
                let name = self.files.meaning(mapping.inode, Instant::now());
                let is_it = |(file, point): &&(Inode, &Point)| {
                    point.offset == offset && name.is_none_or(|name| name == Meaning::File(*file))
                };
                candidates.iter().find(is_it)?
            }
            // The process has ended, but what is alike leaves no choice.
            Err(_) if second.is_none() => first,
            Err(_) => return None,
        };
        Some((*file, (*point).clone()))
    }

    /// Lets go of a function of a file that is another one, for everybody and for good. Those beside it stay.
    fn refute(&mut self, file: Inode, wrong: &Point, why: &str) {
        let Some(entry) = self.files.get_mut(file) else {
            return;
        };
        let Content::Tls(classification) = &mut entry.content else {
            return;
        };
        let (path, symbol) = (Arc::clone(&entry.path), &wrong.symbol);
        tracing::warn!(%path, %symbol, why, "a function that was inferred is another one: its probes are removed");
        classification.secrets.retain(|point| point != wrong);
        let missing = Missing {
            symbol: symbol.clone(),
            reason: why.to_owned(),
        };
        classification.missing.insert(0, missing);
        entry.proofs.refuted = Some(format!("{why} ({path})"));
        let former = std::mem::replace(&mut entry.secrets, Attachment::None);
        let users: Vec<Pid> = entry.users.iter().copied().collect();
        let pinned = entry.pinned;
        self.report.count(|counters| counters.refuted += 1);
        if pinned {
            self.attach_pinned(&[file]);
        }
        // What is left of the file, and what stands in for what is gone.
        for user in users {
            self.sync(user);
        }
        if let Attachment::Attached { links, .. } = former {
            self.remover.remove(links);
        }
        self.count_gauges();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_certain_failure_or_two_likely_ones_are_enough() {
        let mut proofs = Proofs::default();
        assert!(!proofs.fail(1, false));
        assert!(proofs.fail(1, false));
        assert!(proofs.fail(2, true));
    }

    #[test]
    fn what_was_proved_once_never_fails() {
        let mut proofs = Proofs::default();
        assert!(!proofs.fail(1, false));
        proofs.prove(1);
        assert!(proofs.is_proved(1) && !proofs.is_proved(2));
        assert!(!proofs.fail(1, true) && !proofs.fail(1, true));
    }
}
