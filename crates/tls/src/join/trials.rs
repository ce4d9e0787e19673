//! Trials of secrets on records.

use std::sync::Arc;

use super::Joined;
use super::found::{FoundSecret, FoundSecrets, Trial};
use crate::flow::{Current, Epoch};
use crate::record::{HEADER_LENGTH, Header};
use crate::suite::Suite;

/// Numbers of records tried with ChaCha20-Poly1305, which does not tell them: in mid-stream, and where all of them were seen.
pub(super) const IN_MIDSTREAM: u64 = 1 << 20;
pub(super) const FROM_BEGINNING: u64 = 16;
/// Records, as parts of what all trials may cost: one that will never open is not to take all of it.
const RECORDS: u64 = 4;

/// Bytes that trials may authenticate in one go: some milliseconds.
pub(super) const WORK_AT_ONCE: u64 = 4 << 20;
/// What a trial costs besides its bytes.
const TRIAL_COST: u64 = 256;

/// The records that wait are gone through twice: trials with AES-GCM cost next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Gcm,
    ChaCha,
}

impl Pass {
    pub(super) const ALL: [Self; 2] = [Self::Gcm, Self::ChaCha];
}

/// How far a pass is.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    /// Bytes at the front of the queue that begin no record which is still to be tried.
    scanned: usize,
    /// The next trial of the record there: the place of the secret, or the number of the record.
    next: u64,
    /// What trials of that record have cost.
    spent: u64,
}

/// A direction that is not joined yet.
pub(crate) struct Joining {
    cursors: [Cursor; 2],
    /// Something that looks like a whole record has come.
    pub(super) saw_record: bool,
    /// The search whose secrets are being tried.
    search: Option<u64>,
    /// Bytes that trials may still authenticate, of what each search may.
    work: u64,
    limit: u64,
    /// Numbers to try.
    numbers: u64,
    /// A bound ended the trials before all were made.
    is_cut: bool,
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
    pub(super) suite: Suite,
    pub(super) suite_id: u16,
    pub(super) group: u32,
    /// Where in the bytes at the front of the queue its record begins.
    pub(super) at: usize,
    pub(super) current: Current,
    pub(super) sequence: u64,
}

impl Joining {
    pub(super) fn new(limit: u64, numbers: u64) -> Self {
        Self {
            cursors: Default::default(),
            saw_record: false,
            search: None,
            work: limit,
            limit,
            numbers,
            is_cut: false,
        }
    }

    /// Whether there is something to try secrets on.
    pub(crate) fn saw_record(&self) -> bool {
        self.saw_record
    }

    /// Whether a bound ended trials early.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The queue changed at its front, or more is known: every record there is to be tried.
    pub(crate) fn start_over(&mut self) {
        self.cursors = Default::default();
        self.saw_record = false;
    }

    /// The secrets of another search are tried on everything.
    pub(super) fn begin(&mut self, found: &FoundSecrets) {
        if self.search != Some(found.id) {
            self.search = Some(found.id);
            self.cursors = Default::default();
            self.work = self.limit;
        }
    }

    pub(super) fn scanned(&mut self, pass: Pass) -> &mut usize {
        &mut self.cursor(pass).scanned
    }

    /// No secret opens the record at `at`.
    pub(super) fn pass_over(&mut self, pass: Pass, at: usize) {
        *self.cursor(pass) = Cursor {
            scanned: at + 1,
            ..Cursor::default()
        };
    }

    fn cursor(&mut self, pass: Pass) -> &mut Cursor {
        let [gcm, chacha] = &mut self.cursors;
        match pass {
            Pass::Gcm => gcm,
            Pass::ChaCha => chacha,
        }
    }

    fn pay(&mut self, pass: Pass, slice: &mut u64, bytes: usize) {
        let cost = bytes as u64 + TRIAL_COST;
        self.cursor(pass).spent += cost;
        self.work = self.work.saturating_sub(cost);
        *slice = slice.saturating_sub(cost);
    }

    /// Tries secrets on the record that `bytes` begin with.
    pub(super) fn try_record(
        &mut self,
        pass: Pass,
        bytes: &[u8],
        found: &FoundSecrets,
        partner: Partner,
        slice: &mut u64,
    ) -> Result<Hit, Joined> {
        let header = Header::parse(bytes).ok_or(Joined::No)?;
        let body = bytes.get(HEADER_LENGTH..header.wire_length()).ok_or(Joined::No)?;
        match pass {
            Pass::Gcm => self.try_gcm(header, body, found, partner, slice),
            Pass::ChaCha => self.try_chacha(header, body, found, partner, slice),
        }
    }

    fn try_gcm(
        &mut self,
        header: Header,
        body: &[u8],
        found: &FoundSecrets,
        partner: Partner,
        slice: &mut u64,
    ) -> Result<Hit, Joined> {
        // Those that lay beside the secret of the other direction first.
        let beside = |secret: &&FoundSecret| Some(secret.group()) == partner.group;
        let secrets = (found.secrets.iter())
            .filter(beside)
            .chain(found.secrets.iter().filter(|secret| !beside(secret)));
        let start = self.cursor(Pass::Gcm).next;
        for (place, secret) in (0_u64..)
            .zip(secrets)
            .skip(usize::try_from(start).unwrap_or(usize::MAX))
        {
            if self.work == 0 {
                self.is_cut = true;
                return Err(Joined::No);
            }
            if *slice == 0 {
                self.cursor(Pass::Gcm).next = place;
                return Err(Joined::Unfinished);
            }
            for trial in secret.trials().iter().filter(|trial| partner.fits(trial)) {
                let Some(finder) = &trial.finder else { continue };
                if let Some(sequence) = finder.sequence(header, body)
                    && let Some(hit) = hit(secret, trial, header, body, sequence)
                {
                    return Ok(hit);
                }
                self.pay(Pass::Gcm, slice, body.len());
            }
        }
        Err(Joined::No)
    }

    fn try_chacha(
        &mut self,
        header: Header,
        body: &[u8],
        found: &FoundSecrets,
        partner: Partner,
        slice: &mut u64,
    ) -> Result<Hit, Joined> {
        let trials: Vec<_> = (found.secrets.iter())
            .filter(|secret| partner.group.is_none_or(|group| group == secret.group()))
            .flat_map(|secret| secret.trials().iter().map(move |trial| (secret, trial)))
            .filter(|(_, trial)| trial.finder.is_none() && partner.fits(trial))
            .collect();
        if trials.is_empty() {
            return Err(Joined::No);
        }
        let most = self.limit / RECORDS;
        // Where it was seen from its beginning, records of the handshake are among those tried, which open under none of these.
        let is_midstream = self.numbers == IN_MIDSTREAM;
        for sequence in self.cursor(Pass::ChaCha).next..self.numbers {
            if self.work == 0 || self.cursor(Pass::ChaCha).spent >= most {
                self.is_cut = true;
                break;
            }
            if *slice == 0 {
                self.cursor(Pass::ChaCha).next = sequence;
                return Err(Joined::Unfinished);
            }
            for &(secret, trial) in &trials {
                if let Some(hit) = hit(secret, trial, header, body, sequence) {
                    return Ok(hit);
                }
                self.pay(Pass::ChaCha, slice, body.len());
            }
        }
        self.is_cut |= is_midstream;
        Err(Joined::No)
    }
}

impl Partner {
    fn fits(self, trial: &Trial) -> bool {
        self.suite.is_none_or(|suite| suite == trial.suite)
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
        at: 0,
        sequence,
    })
}
