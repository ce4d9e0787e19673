//! Which key opens a record, and with which sequence number.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::event::push_gap;
use crate::flow::{Current, Epoch, Flow, Opened, Protection, Seal, Shared, Step};
use crate::handshake::EarlyData;
use crate::keys::{Params, RecordKey};
use crate::queue::Item;
use crate::record::{HEADER_LENGTH, Header, Record, content};
use crate::suite::{Protocol, Suite};
use crate::{Event, Failure, GapReason, Label, Side, Time, Unreadable};

/// Sequence numbers tried on one record when earlier ones could not be opened: a handshake flight is seldom longer.
const WINDOW: u64 = 32;

/// The epochs of TLS 1.3, in order.
const EPOCHS: [Epoch; 3] = [Epoch::Early, Epoch::Handshake, Epoch::Application];

/// The label of the secret of `epoch`; the server has no early one.
pub(crate) fn label(side: Side, epoch: Epoch) -> Option<Label> {
    match (side, epoch) {
        (Side::Client, Epoch::Early) => Some(Label::ClientEarly),
        (Side::Client, Epoch::Handshake) => Some(Label::ClientHandshake),
        (Side::Client, Epoch::Application) => Some(Label::ClientApplication),
        (Side::Server, Epoch::Early) => None,
        (Side::Server, Epoch::Handshake) => Some(Label::ServerHandshake),
        (Side::Server, Epoch::Application) => Some(Label::ServerApplication),
    }
}

/// Tries the sequence numbers on one record.
fn try_open(key: &RecordKey, record: &Record, sequences: impl Iterator<Item = u64>) -> Option<Opened> {
    for sequence in sequences {
        if let Some((content, plaintext)) = key.open(record.header, &record.body, sequence) {
            return Some(Opened {
                content,
                plaintext,
                sequence,
            });
        }
    }
    None
}

impl Flow {
    /// Opens the whole records that `data` begins with, as long as nothing waits before them and each opens as the next one under the
    /// key of the application: nearly always all of it. What it leaves goes the long way, which finds out why.
    pub(crate) fn open_next(
        &mut self,
        data: &mut Bytes,
        time: Time,
        shared: &mut Shared,
        out: &mut Vec<Event>,
    ) {
        let is_settled = self.queue.is_empty()
            && self.framer.is_between_records()
            && self.lost.is_none()
            && self.unsure == 0
            && shared.unreadable.is_none();
        while is_settled
            && let Some(current) = &self.current
            && current.epoch == Epoch::Application
            && !current.epoch_guessed
            && let Some(header) = Header::parse(data)
            && let Some(body) = data.get(HEADER_LENGTH..header.wire_length())
        {
            let is_protected = match self.seal {
                Seal::Clear => header.content == content::APPLICATION_DATA,
                Seal::Pending => false,
                Seal::Tls12(_) => true,
            };
            let found = is_protected.then(|| current.key.open(header, body, self.next));
            let Some((content, plaintext)) = found.flatten() else {
                return;
            };
            data.advance(header.wire_length());
            let opened = Opened {
                content,
                plaintext,
                sequence: self.next,
            };
            self.opened(opened, header, time, shared, out);
            if content != content::APPLICATION_DATA {
                return;
            }
        }
    }

    /// Numbers that the next record may have, when the last records could not be opened: the latest first.
    fn sequences(&self, base: u64) -> impl Iterator<Item = u64> + Clone + use<> {
        let (unsure, window) = (self.unsure, WINDOW);
        (unsure.saturating_sub(window)..=unsure)
            .rev()
            .map(move |skipped| base.saturating_add(skipped))
    }

    /// Opens a record of TLS 1.2.
    pub(crate) fn open_tls12(
        &mut self,
        record: &Record,
        params: &Params,
        shared: &mut Shared,
        out: &mut Vec<Event>,
    ) -> Step {
        if let Some(current) = &self.current {
            let sequences = self.sequences(self.next);
            let found = try_open(&current.key, record, sequences);
            return self.settled(found, record, shared, out);
        }
        let sequences = self.sequences(0);
        let mut found = None;
        for candidate in shared.candidates.of(Label::Master) {
            let Some([client, server]) = candidate.ensure_tls12(params) else {
                continue;
            };
            let key = match self.side {
                Side::Client => client,
                Side::Server => server,
            };
            if let Some(hit) = try_open(&key, record, sequences.clone()) {
                candidate.own = true;
                shared.proven = candidate.secret.origin.or(shared.proven);
                found = Some((key, hit));
                break;
            }
        }
        let Some((key, opened)) = found else {
            self.front_tried = Some(shared.generation);
            return Step::Blocked;
        };
        self.current = Some(Current {
            key,
            epoch: Epoch::Application,
            epoch_guessed: false,
            secret: None,
        });
        self.opened(opened, record.header, record.time, shared, out);
        Step::Done
    }

    /// Opens a record of TLS 1.3: under the key in use, else as the first record of a later epoch.
    pub(crate) fn open_tls13(
        &mut self,
        record: &Record,
        suite: Suite,
        shared: &mut Shared,
        out: &mut Vec<Event>,
    ) -> Step {
        if let Some(current) = &self.current {
            let sequences = self.sequences(self.next);
            let found = try_open(&current.key, record, sequences);
            if found.is_some() || current.epoch == Epoch::Application {
                return self.settled(found, record, shared, out);
            }
        }
        for epoch in self.later_epochs(shared) {
            if let Some((current, opened)) = self.try_epoch(epoch, record, suite, self.unsure, shared) {
                self.current = Some(current);
                self.reader.reset();
                self.opened(opened, record.header, record.time, shared, out);
                return Step::Done;
            }
        }
        self.front_tried = Some(shared.generation);
        Step::Blocked
    }

    /// The outcome of a trial that no other key could mend.
    fn settled(
        &mut self,
        found: Option<Opened>,
        record: &Record,
        shared: &mut Shared,
        out: &mut Vec<Event>,
    ) -> Step {
        if let Some(opened) = found {
            self.opened(opened, record.header, record.time, shared, out);
        } else {
            // Not what the sender sent, or not where it sent it: the boundaries after it cannot be trusted either.
            self.queue.unpop(Item::Record(record.clone()));
            self.framer.lose(record.time, &mut self.queue);
            self.reader.reset();
        }
        Step::Done
    }

    /// The epochs that may come after the one in use, as far as known facts allow.
    pub(crate) fn later_epochs(&self, shared: &Shared) -> impl Iterator<Item = Epoch> + use<> {
        let current = self.current.as_ref().map(|current| current.epoch);
        // Early data that the server refuses was not received by anyone: it waits until the answer was read.
        let early = match shared.handshake.early_data {
            EarlyData::Accepted => true,
            EarlyData::Offered => shared.last_resort,
            EarlyData::NotOffered | EarlyData::Rejected => false,
        };
        EPOCHS
            .into_iter()
            .filter(move |&epoch| Some(epoch) > current && (epoch != Epoch::Early || early))
    }

    /// Tries the candidates of `epoch` on a record before which up to `skipped` records of it may have gone by.
    fn try_epoch(
        &self,
        epoch: Epoch,
        record: &Record,
        suite: Suite,
        skipped: u64,
        shared: &mut Shared,
    ) -> Option<(Current, Opened)> {
        let sequences = (skipped.saturating_sub(WINDOW)..=skipped).rev();
        for candidate in shared.candidates.of(label(self.side, epoch)?) {
            let Some(key) = candidate.ensure_tls13(suite) else {
                continue;
            };
            if let Some(opened) = try_open(&key, record, sequences.clone()) {
                candidate.own = true;
                shared.proven = candidate.secret.origin.or(shared.proven);
                return Some((Current::tls13(key, epoch, suite, candidate), opened));
            }
        }
        None
    }

    /// The front record did not open. When it never will (refused early data; a secret that is missing for good),
    /// a later record may open as the first of its epoch: goes on from there.
    pub(crate) fn look_ahead(&mut self, shared: &mut Shared, out: &mut Vec<Event>) -> Step {
        let Some(suite) = shared.handshake.suite() else {
            return Step::Blocked;
        };
        let refused = self.side == Side::Client
            && self.current.is_none()
            && shared.handshake.early_data == EarlyData::Rejected;
        if suite.protocol != Protocol::Tls13 || !(refused || shared.last_resort) {
            return Step::Blocked;
        }
        let (generation, tried) = self.ahead_tried;
        let start = if generation == shared.generation { tried } else { 0 };
        for at in start..self.queue.len() {
            let record = match self.queue.get(at) {
                Some(Item::Record(record)) => record,
                Some(Item::Damaged { .. }) => continue,
                _ => break,
            };
            self.ahead_tried = (shared.generation, at);
            // A second ClientHello ends refused early data.
            let clear = record.header.content == content::HANDSHAKE;
            let opens = record.header.content == content::APPLICATION_DATA
                && self
                    .later_epochs(shared)
                    .any(|epoch| self.try_epoch(epoch, record, suite, 0, shared).is_some());
            if opens || (clear && refused) {
                self.skip(at, refused, shared, out);
                return Step::Done;
            }
            self.ahead_tried = (shared.generation, at + 1);
        }
        Step::Blocked
    }

    /// Drops `count` items that are not to be opened. They are data of the application only where accepted early
    /// data may be among them; else they are the handshake.
    fn skip(&mut self, count: usize, refused: bool, shared: &Shared, out: &mut Vec<Event>) {
        let maybe_data = self.side == Side::Client
            && !refused
            && matches!(
                shared.handshake.early_data,
                EarlyData::Accepted | EarlyData::Offered
            );
        for _ in 0..count {
            let (header, time) = match self.queue.pop() {
                Some(Item::Record(record)) => (record.header, record.time),
                Some(Item::Damaged { header, time }) => (header, time),
                _ => break,
            };
            if maybe_data {
                self.give_up_record(header, GapReason::NoSecret, time, shared, out);
            }
        }
        self.current = None;
        self.unsure = 0;
        self.front_tried = None;
        self.ahead_tried = (0, 0);
        self.reader.reset();
    }

    /// Adds the secrets that should open the first protected record of this direction, and do not. None where anything else may be the
    /// reason: a record that is not whole, or that may be early data, which may be under another secret.
    pub(crate) fn failures(&mut self, shared: &mut Shared, found: &mut Vec<Failure>) {
        let Some(Item::Record(record)) = self.queue.get(0) else {
            return;
        };
        let header = record.header;
        if self.current.is_some() || self.unsure > 0 || self.lost.is_some() {
            return;
        }
        let early = self.side == Side::Client && shared.handshake.early_data != EarlyData::NotOffered;
        let protection = self.protection(header, shared);
        let label = match protection {
            Protection::Tls12(_) => Some(Label::Master),
            Protection::Tls13(_) if !early => label(self.side, Epoch::Handshake),
            _ => None,
        };
        let Some(label) = label else { return };
        for candidate in shared.candidates.of(label) {
            let fits = match &protection {
                Protection::Tls12(params) => candidate.ensure_tls12(params).is_some(),
                Protection::Tls13(suite) => candidate.ensure_tls13(*suite).is_some(),
                _ => false,
            };
            if let Some(origin) = candidate.secret.origin.filter(|_| fits) {
                found.push(Failure {
                    origin,
                    label: candidate.secret.label,
                    is_certain: candidate.own,
                });
            }
        }
    }

    /// Gives up the oldest waiting item; returns `false` if there is none to give up.
    pub(crate) fn drop_front(&mut self, shared: &mut Shared, out: &mut Vec<Event>) -> bool {
        let protected = |flow: &mut Self, header: Header, shared: &Shared| {
            matches!(
                flow.protection(header, shared),
                Protection::Tls12(_) | Protection::Tls13(_)
            ) || (flow.seal == Seal::Pending && shared.handshake.protocol() == Some(Protocol::Tls12))
        };
        let Some(item) = self.queue.pop() else {
            return false;
        };
        let (header, reason, time) = match item {
            Item::Record(record) => (record.header, GapReason::NoSecret, record.time),
            Item::Damaged { header, time } => (header, GapReason::Lost, time),
            Item::Hole { length, time } => {
                self.lose_wire(length, GapReason::Lost, time);
                self.report_lost(shared, out);
                return true;
            }
            Item::Raw(raw) => {
                self.lose_wire(raw.data.len() as u64, GapReason::NoSecret, raw.time());
                self.report_lost(shared, out);
                if let Some(joining) = &mut self.joining {
                    joining.start_over();
                }
                return true;
            }
        };
        if protected(self, header, shared) {
            self.give_up_record(header, reason, time, shared, out);
            self.popped();
        } else {
            shared.unreadable = Some((Unreadable::NoHandshake, time));
        }
        true
    }

    /// Whether waiting items wait for a secret, rather than for the peer's hello or for more bytes.
    pub(crate) fn is_waiting(&self, shared: &Shared) -> bool {
        if let Some(joining) = &self.joining {
            return joining.saw_record();
        }
        // Records from before the kernel took over are those of the handshake: nothing of the application waits in them.
        let may_carry_data = !self.offloaded && !self.is_final();
        may_carry_data && !self.queue.is_empty() && shared.handshake.suite().is_some()
    }

    /// Reports lost wire bytes as far as known now.
    pub(crate) fn report_lost(&mut self, shared: &Shared, out: &mut Vec<Event>) {
        let suite = shared.handshake.suite();
        if let Some(lost) = &mut self.lost {
            let (length, reason, time) = lost.report(suite, None);
            push_gap(out, self.side, length, reason, time);
        }
    }

    /// Nothing more comes: what is left of an unfinished search is lost, and so is a record that lost bytes.
    pub(crate) fn close(&mut self, time: Time, shared: &Shared, out: &mut Vec<Event>) {
        if let Some(header) = self.framer.abandon() {
            self.give_up_record(header, GapReason::Lost, time, shared, out);
        }
        while let Some(item) = self.queue.pop() {
            match item {
                Item::Hole { length, time } => self.lose_wire(length, GapReason::Lost, time),
                Item::Raw(raw) => self.lose_wire(raw.data.len() as u64, GapReason::Lost, raw.time()),
                Item::Record(record) => {
                    self.give_up_record(record.header, GapReason::NoSecret, record.time, shared, out);
                }
                Item::Damaged { header, time } => {
                    self.give_up_record(header, GapReason::Lost, time, shared, out)
                }
            }
        }
        self.report_lost(shared, out);
    }

    /// The keys that may protect what comes after a loss, the one in use first, with the number its next record
    /// had before the loss.
    pub(crate) fn keys_after_loss(&self, shared: &mut Shared) -> Vec<(Current, u64, bool)> {
        let mut keys = Vec::new();
        if let Some(current) = &self.current {
            let same = Current {
                key: Arc::clone(&current.key),
                epoch: current.epoch,
                epoch_guessed: current.epoch_guessed,
                secret: current.secret.clone(),
            };
            keys.push((same, self.next.saturating_add(self.unsure), true));
        }
        if self.is_final() {
            keys.extend(self.next_current().map(|next| (next, 0, false)));
            return keys;
        }
        match shared.handshake.suite() {
            Some(suite) if suite.protocol == Protocol::Tls13 => {
                for epoch in self.later_epochs(shared) {
                    let Some(label) = label(self.side, epoch) else {
                        continue;
                    };
                    for candidate in shared.candidates.of(label) {
                        let Some(key) = candidate.ensure_tls13(suite) else {
                            continue;
                        };
                        keys.push((Current::tls13(key, epoch, suite, candidate), 0, false));
                    }
                }
            }
            Some(_) => {
                let params = match self.seal {
                    Seal::Tls12(params) => Some(params),
                    Seal::Clear | Seal::Pending => shared.handshake.params(),
                };
                let Some(params) = params else {
                    return keys;
                };
                for candidate in shared.candidates.of(Label::Master) {
                    if let Some([client, server]) = candidate.ensure_tls12(&params) {
                        let key = match self.side {
                            Side::Client => client,
                            Side::Server => server,
                        };
                        let current = Current {
                            key,
                            epoch: Epoch::Application,
                            epoch_guessed: false,
                            secret: None,
                        };
                        keys.push((current, 0, false));
                    }
                }
            }
            None => {}
        }
        keys
    }

    /// Counts wire bytes whose records are not known.
    pub(crate) fn lose_wire(&mut self, length: u64, reason: GapReason, time: Time) {
        self.reader.reset();
        self.lost
            .get_or_insert_with(|| crate::resync::Lost::new(reason, time))
            .add(length, time);
    }
}
