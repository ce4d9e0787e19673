//! After lost ciphertext: the next record that authenticates.
//!
//! The bytes skipped bound how many records went by, so the sequence number of the next one lies in a small range.
//! Work is bounded: trials per header, and bytes decrypted per byte received.

use crate::event::push_gap;
use crate::flow::{Current, Flow, Seal, Shared, Step};
use crate::queue::Item;
use crate::record::{HEADER_LENGTH, Header, content};
use crate::suite::{Protocol, Suite};
use crate::{Event, GapReason, Side, Time, Unreadable};

/// Sequence numbers tried on one header.
const TRIALS: u64 = 4096;

/// Sequence numbers tried around the estimate that the last record length gives.
const NEAR: u64 = 8;

/// Bytes that trials may decrypt: at the start of a search, and for each byte passed over.
const WORK: u64 = 64 << 20;
const WORK_PER_BYTE: u64 = 64;

/// What a trial costs besides its bytes.
const TRIAL_COST: u64 = 256;

/// Lost bytes that are reported before the search ends.
const REPORT_BYTES: u64 = 1 << 20;

/// A search under way.
pub(crate) struct Lost {
    reason: GapReason,
    time: Time,
    /// Wire bytes since the last record boundary that was known.
    wire: u64,
    /// Plaintext bytes reported so far.
    reported: u64,
    /// Raw bytes at the front of the queue that were searched.
    scanned: usize,
    generation: u64,
    work: u64,
}

impl Lost {
    pub(crate) fn new(reason: GapReason, time: Time) -> Self {
        Self {
            reason,
            time,
            wire: 0,
            reported: 0,
            scanned: 0,
            generation: 0,
            work: WORK,
        }
    }

    /// More wire bytes are passed over.
    pub(crate) fn add(&mut self, length: u64, time: Time) {
        self.wire = self.wire.saturating_add(length);
        self.work = self
            .work
            .saturating_add(length.saturating_mul(WORK_PER_BYTE))
            .min(WORK);
        self.time = time;
        self.scanned = 0;
    }

    /// The upper bound of plaintext not yet reported, given how many records went by, if known.
    pub(crate) fn report(&mut self, suite: Option<Suite>, records: Option<u64>) -> (u64, GapReason, Time) {
        let overhead = suite.map_or(0, |suite| suite.min_wire() as u64);
        let records = records.unwrap_or_else(|| fewest_records(self.wire, suite));
        let plaintext = self.wire.saturating_sub(records.saturating_mul(overhead));
        let length = plaintext.saturating_sub(self.reported);
        self.reported = self.reported.max(plaintext);
        (length, self.reason, self.time)
    }

    fn pay(&mut self, bytes: usize) -> bool {
        let cost = bytes as u64 + TRIAL_COST;
        match self.work.checked_sub(cost) {
            Some(left) => {
                self.work = left;
                true
            }
            None => false,
        }
    }
}

/// The fewest records that `wire` bytes can be.
fn fewest_records(wire: u64, suite: Option<Suite>) -> u64 {
    suite.map_or(0, |suite| {
        wire.div_ceil((HEADER_LENGTH + suite.max_body()) as u64)
    })
}

/// A record that authenticated.
struct Found {
    at: usize,
    current: Current,
    sequence: u64,
    /// Records that went by, where the key is the one from before the loss.
    records: Option<u64>,
}

impl Flow {
    /// Works on holes and raw bytes at the front of the queue.
    pub(crate) fn search(&mut self, shared: &mut Shared, out: &mut Vec<Event>) -> Step {
        let (raw_length, time) = match self.queue.front() {
            Some(&Item::Hole { length, time }) => {
                self.queue.pop();
                self.lose_wire(length, GapReason::Lost, time);
                self.announce_loss(shared, out);
                return Step::Done;
            }
            Some(Item::Raw(raw)) => (raw.data.len(), raw.time()),
            _ => return Step::Blocked,
        };
        let Some(suite) = self.suite_after_loss(time, shared) else {
            return Step::Blocked;
        };
        let keys = self.keys_after_loss(shared);
        if keys.is_empty() {
            return Step::Blocked;
        }
        let mut lost = self
            .lost
            .take()
            .unwrap_or_else(|| Lost::new(GapReason::Unauthenticated, time));
        if lost.generation != shared.generation && !self.is_final() {
            lost.scanned = 0;
        }
        lost.generation = shared.generation;
        let more_follows = self.queue.len() > 1;
        let found = self.scan(&mut lost, keys, suite, more_follows);
        if let Some(found) = found {
            lost.add(found.at as u64, time);
            let (length, reason, time) = lost.report(Some(suite), found.records);
            push_gap(out, self.side, length, reason, time);
            self.resume(found, shared);
            return Step::Done;
        }
        let passed = if more_follows { raw_length } else { lost.scanned };
        if !self.is_final() || passed == 0 {
            self.lost = Some(lost);
            return Step::Blocked;
        }
        lost.add(passed as u64, time);
        let unreported = lost.wire.saturating_sub(lost.reported);
        self.lost = Some(lost);
        self.queue.skip_raw(passed);
        if unreported > REPORT_BYTES {
            self.report_lost(shared, out);
        }
        Step::Done
    }

    /// How much plaintext is lost is known when the next record is found. That some is must be known before: what comes the
    /// other way in the meantime may belong to it. One byte of it is reported at once, the rest then.
    fn announce_loss(&mut self, shared: &Shared, out: &mut Vec<Event>) {
        let Some(suite) = shared.handshake.suite().filter(|_| self.is_final()) else {
            return;
        };
        if let Some(lost) = &mut self.lost
            && lost.reported == 0
            && lost.wire > suite.min_wire() as u64
        {
            lost.reported = 1;
            push_gap(out, self.side, 1, lost.reason, lost.time);
        }
    }

    /// The suite under which to search; `None` if it is not known yet or never will be.
    fn suite_after_loss(&self, time: Time, shared: &mut Shared) -> Option<Suite> {
        let handshake = &shared.handshake;
        let hello_lost = match (handshake.suite(), self.side) {
            (None, Side::Server) => true,
            (None, Side::Client) => false,
            (Some(suite), Side::Client) => {
                suite.protocol == Protocol::Tls12 && handshake.client_random().is_none()
            }
            (Some(_), Side::Server) => false,
        };
        if hello_lost {
            shared.unreadable = Some((Unreadable::NoHandshake, time));
            return None;
        }
        handshake.suite()
    }

    /// Looks for a record in the raw bytes at the front, and notes how far it looked.
    fn scan(
        &self,
        lost: &mut Lost,
        mut keys: Vec<(Current, u64, bool)>,
        suite: Suite,
        more_follows: bool,
    ) -> Option<Found> {
        let Some(Item::Raw(raw)) = self.queue.front() else {
            return None;
        };
        while let Some(rest) = raw.data.get(lost.scanned..)
            && rest.len() >= HEADER_LENGTH
        {
            let at = lost.scanned;
            if let Some(header) = Header::parse(rest).filter(|&header| is_likely(header, suite)) {
                match rest.get(HEADER_LENGTH..header.wire_length()) {
                    Some(body) => {
                        let wire = lost.wire.saturating_add(at as u64);
                        if let Some((index, sequence, records)) =
                            self.try_header(lost, &keys, header, body, wire, suite)
                        {
                            let (current, ..) = keys.swap_remove(index);
                            return Some(Found {
                                at,
                                current,
                                sequence,
                                records,
                            });
                        }
                    }
                    // Its end may still come; unless a hole follows.
                    None if !more_follows => return None,
                    None => {}
                }
            }
            lost.scanned = at + 1;
        }
        None
    }

    /// Tries one header; returns the index of the key, the sequence number and the records that went by.
    fn try_header(
        &self,
        lost: &mut Lost,
        keys: &[(Current, u64, bool)],
        header: Header,
        body: &[u8],
        wire: u64,
        suite: Suite,
    ) -> Option<(usize, u64, Option<u64>)> {
        let most = wire / suite.min_wire() as u64;
        for (index, (current, base, in_use)) in keys.iter().enumerate() {
            // Wrong bytes may have been added or be missing unseen, then no number of records is too small.
            let exact = *in_use && lost.reason == GapReason::Lost;
            let fewest = if exact {
                fewest_records(wire, Some(suite))
            } else {
                0
            };
            let estimate = wire.checked_div(self.last_wire).unwrap_or(fewest);
            let near = estimate.saturating_sub(NEAR).max(fewest)..=estimate.saturating_add(NEAR).min(most);
            let all = fewest..=most.min(fewest.saturating_add(TRIALS));
            for records in near.chain(all) {
                if !lost.pay(body.len()) {
                    return None;
                }
                let sequence = base.saturating_add(records);
                if current.key.open(header, body, sequence).is_some() {
                    return Some((index, sequence, in_use.then_some(records)));
                }
            }
        }
        None
    }

    /// Goes on with the record found, which is then opened once more in its turn.
    fn resume(&mut self, found: Found, shared: &mut Shared) {
        if let Seal::Clear | Seal::Pending = self.seal
            && shared.handshake.protocol() == Some(Protocol::Tls12)
            && let Some(params) = shared.handshake.params()
        {
            self.seal = Seal::Tls12(params);
        }
        self.take_up(found.at, found.current, found.sequence);
    }

    /// Goes on `at` bytes into the raw ones at the front, where the record numbered `sequence` under the key of `current` begins.
    pub(crate) fn take_up(&mut self, at: usize, current: Current, sequence: u64) {
        self.queue.skip_raw(at);
        self.framer.resume(&mut self.queue);
        self.current = Some(current);
        self.next = sequence;
        self.unsure = 0;
        self.lost = None;
        self.front_tried = None;
        self.ahead_tried = (0, 0);
        self.reader.reset();
    }
}

/// Whether a header may be one of a protected record that carries something.
fn is_likely(header: Header, suite: Suite) -> bool {
    let content = match suite.protocol {
        Protocol::Tls13 => header.content == content::APPLICATION_DATA,
        Protocol::Tls12 => matches!(
            header.content,
            content::ALERT | content::HANDSHAKE | content::APPLICATION_DATA
        ),
    };
    content
        && header.version == 0x0303
        && (suite.overhead()..=suite.max_body()).contains(&header.body_length())
}
