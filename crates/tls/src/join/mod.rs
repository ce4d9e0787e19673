//! Into a connection of TLS 1.3 whose handshake nobody saw, by secrets that may be its own and numbers of records that nobody knows.
//!
//! From where the capture began, bytes are searched for what looks like a record, and that is tried under each secret. With AES-GCM the record
//! itself tells its number ([`gcm`]); with ChaCha20-Poly1305 numbers are tried from 0 on, as far as the bounds allow. Only what
//! authenticates counts. From then on the direction is read like any other.

mod found;
mod gcm;

use std::sync::Arc;

use crate::Time;
use crate::flow::{Current, Epoch, Flow};
use crate::queue::Item;
use crate::record::{HEADER_LENGTH, Header, content};
use crate::suite::Suite;

use found::Trial;
pub use found::{FoundSecret, FoundSecrets};

/// Numbers of records tried with ChaCha20-Poly1305, which does not tell them.
const MOST_TRIED: u64 = 1 << 20;

/// Bytes that trials may authenticate in one go: some milliseconds.
const WORK_AT_ONCE: u64 = 4 << 20;
/// What a trial costs besides its bytes.
const TRIAL_COST: u64 = 256;

/// How trials on a direction stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Joined {
    /// It is read from now on.
    Yes,
    /// None of these secrets opens what has come so far, or nothing has.
    No,
    /// There are more trials to make: call again.
    Unfinished,
}

/// Which trial of a record comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// AES-GCM, the secret at this place.
    Gcm(usize),
    /// ChaCha20-Poly1305, this number under each secret.
    ChaCha(u64),
}

/// A direction that is not joined yet.
pub(crate) struct Joining {
    /// Bytes at the front of the queue that begin no record which is still to be tried.
    scanned: usize,
    /// Something that looks like a whole record has come.
    saw_record: bool,
    /// The search whose secrets are being tried, and how far.
    search: Option<u64>,
    stage: Stage,
    /// Bytes that trials may still authenticate, of what each search may.
    work: u64,
    limit: u64,
    /// A bound ended the trials before all were made.
    is_cut: bool,
}

impl Joining {
    fn new(limit: u64) -> Self {
        Self {
            scanned: 0,
            saw_record: false,
            search: None,
            stage: Stage::Gcm(0),
            work: limit,
            limit,
            is_cut: false,
        }
    }

    /// Whether there is something to try secrets on.
    pub(crate) fn saw_record(&self) -> bool {
        self.saw_record
    }

    /// Whether a bound ended trials early.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The queue changed at its front: nothing is known of it.
    pub(crate) fn start_over(&mut self) {
        self.scanned = 0;
        self.saw_record = false;
        self.stage = Stage::Gcm(0);
    }

    fn pay(&mut self, slice: &mut u64, bytes: usize) -> bool {
        let cost = bytes as u64 + TRIAL_COST;
        self.work = self.work.saturating_sub(cost);
        *slice = slice.saturating_sub(cost);
        *slice > 0 && self.work > 0
    }
}

/// What is known of the other direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Partner {
    pub(crate) suite: Option<Suite>,
    /// The group of its secret.
    pub(crate) group: Option<u32>,
}

/// A secret that opened a record.
pub(crate) struct Hit {
    pub(crate) suite: Suite,
    pub(crate) suite_id: u16,
    pub(crate) group: u32,
    current: Current,
    sequence: u64,
}

impl Flow {
    /// From now on its bytes are kept until a secret that was found opens some.
    pub(crate) fn begin_joining(&mut self, work: u64) {
        self.framer.lose(Time(0), &mut self.queue);
        self.joining = Some(Box::new(Joining::new(work)));
    }

    /// Looks for a whole record among the bytes that were not looked at; tells where it is.
    pub(crate) fn find_record(&mut self) -> Option<usize> {
        let joining = self.joining.as_mut()?;
        loop {
            let more_follows = self.queue.len() > 1;
            let raw = match self.queue.front()? {
                Item::Raw(raw) => raw,
                // What is before the first record is not missed by anyone.
                Item::Hole { .. } | Item::Record(_) | Item::Damaged { .. } => {
                    self.queue.pop();
                    joining.start_over();
                    continue;
                }
            };
            while let Some(rest) = raw.data.get(joining.scanned..)
                && rest.len() >= HEADER_LENGTH
            {
                if let Some(header) = Header::parse(rest).filter(|&header| is_likely(header)) {
                    if rest.len() >= header.wire_length() {
                        joining.saw_record = true;
                        return Some(joining.scanned);
                    }
                    // Its end may still come; unless a hole follows.
                    if !more_follows {
                        return None;
                    }
                }
                joining.scanned += 1;
            }
            if !more_follows {
                return None;
            }
            let length = raw.data.len();
            self.queue.skip_raw(length);
            joining.start_over();
        }
    }

    /// Tries `found` on what has come.
    pub(crate) fn try_found(&mut self, found: &FoundSecrets, partner: Partner) -> (Joined, Option<Hit>) {
        let Some(joining) = self.joining.as_mut() else {
            return (Joined::Yes, None);
        };
        if joining.search != Some(found.id) {
            joining.search = Some(found.id);
            joining.scanned = 0;
            joining.stage = Stage::Gcm(0);
            joining.work = joining.limit;
        }
        let mut slice = WORK_AT_ONCE;
        while let Some(at) = self.find_record() {
            let (Some(Item::Raw(raw)), Some(joining)) = (self.queue.front(), self.joining.as_mut()) else {
                break;
            };
            if joining.work == 0 {
                joining.is_cut = true;
                break;
            }
            let Some(record) = raw.data.get(at..) else { break };
            match joining.try_record(record, found, partner, &mut slice) {
                (Joined::Yes, Some(hit)) => return (Joined::Yes, Some(hit)),
                (Joined::Unfinished, _) => return (Joined::Unfinished, None),
                _ => {
                    joining.scanned = at + 1;
                    joining.stage = Stage::Gcm(0);
                }
            }
        }
        (Joined::No, None)
    }

    /// More is known, or the queue was emptied: what was tried may be tried again.
    pub(crate) fn retry_found(&mut self) {
        if let Some(joining) = &mut self.joining {
            joining.start_over();
        }
        self.find_record();
    }

    /// Goes on with the record that opened.
    pub(crate) fn join(&mut self, hit: Hit) {
        let at = self.joining.take().map_or(0, |joining| joining.scanned);
        self.take_up(at, hit.current, hit.sequence);
    }
}

impl Joining {
    /// Tries secrets on the record that `bytes` begin with.
    fn try_record(
        &mut self,
        bytes: &[u8],
        found: &FoundSecrets,
        partner: Partner,
        slice: &mut u64,
    ) -> (Joined, Option<Hit>) {
        let Some(header) = Header::parse(bytes) else {
            return (Joined::No, None);
        };
        let Some(body) = bytes.get(HEADER_LENGTH..header.wire_length()) else {
            return (Joined::No, None);
        };
        let fits = |trial: &&Trial| partner.suite.is_none_or(|suite| suite == trial.suite);
        if let Stage::Gcm(start) = self.stage {
            // Those that lay beside the secret of the other direction first.
            let beside = |secret: &&FoundSecret| Some(secret.group()) == partner.group;
            let (first, others) = (
                found.secrets.iter().filter(beside),
                found.secrets.iter().filter(|secret| !beside(secret)),
            );
            for (place, secret) in first.chain(others).enumerate().skip(start) {
                for trial in secret.trials().iter().filter(fits) {
                    let Some(finder) = &trial.finder else { continue };
                    let sequence = finder.sequence(header, body);
                    if let Some(sequence) = sequence
                        && let Some(hit) = hit(secret, trial, header, body, sequence)
                    {
                        return (Joined::Yes, Some(hit));
                    }
                    if !self.pay(slice, body.len()) {
                        self.stage = Stage::Gcm(place + 1);
                        return (Joined::Unfinished, None);
                    }
                }
            }
            self.stage = Stage::ChaCha(0);
        }
        let Stage::ChaCha(start) = self.stage else {
            return (Joined::No, None);
        };
        let trials: Vec<_> = (found.secrets.iter())
            .filter(|secret| partner.group.is_none_or(|group| group == secret.group()))
            .flat_map(|secret| secret.trials().iter().map(move |trial| (secret, trial)))
            .filter(|(_, trial)| fits(trial) && trial.finder.is_none())
            .collect();
        if trials.is_empty() {
            return (Joined::No, None);
        }
        for sequence in start..MOST_TRIED {
            for &(secret, trial) in &trials {
                if let Some(hit) = hit(secret, trial, header, body, sequence) {
                    return (Joined::Yes, Some(hit));
                }
                self.pay(slice, body.len());
            }
            if self.work == 0 {
                break;
            }
            if *slice == 0 {
                self.stage = Stage::ChaCha(sequence + 1);
                return (Joined::Unfinished, None);
            }
        }
        self.is_cut = true;
        (Joined::No, None)
    }
}

/// The secret as the one in use, if the record opens under it with that number.
fn hit(secret: &FoundSecret, trial: &Trial, header: Header, body: &[u8], sequence: u64) -> Option<Hit> {
    trial.key.open(header, body, sequence)?;
    Some(Hit {
        suite: trial.suite,
        suite_id: trial.id,
        group: secret.group(),
        current: Current {
            key: Arc::clone(&trial.key),
            epoch: Epoch::Application,
            epoch_guessed: false,
            secret: Some((trial.suite, secret.bytes().clone())),
        },
        sequence,
    })
}

/// Whether a header may be one of a protected record of TLS 1.3 (RFC 8446 §5.2).
fn is_likely(header: Header) -> bool {
    /// A tag and a content type.
    const LEAST: usize = 17;
    const MOST: usize = (16 << 10) + 256;
    header.content == content::APPLICATION_DATA
        && header.version == 0x0303
        && (LEAST..=MOST).contains(&header.body_length())
}
