//! One direction of a connection.

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::candidates::{Candidate, Candidates};
use crate::event::push_gap;
use crate::framer::Framer;
use crate::handshake::Handshake;
use crate::hello::{parse_client_hello, parse_encrypted_extensions, parse_server_hello};
use crate::join::Joining;
use crate::keys::{Params, RecordKey, next_generation};
use crate::messages::{Message, MessageReader, kind};
use crate::open::label;
use crate::queue::{Item, Queue};
use crate::record::{Header, Record, content};
use crate::resync::Lost;
use crate::suite::{Protocol, Suite};
use crate::{Event, GapReason, Label, Limits, Side, Time, Unreadable};

/// What both directions work on.
pub(crate) struct Shared {
    pub(crate) handshake: Handshake,
    pub(crate) candidates: Candidates,
    /// Grows with every secret and every handshake fact: what failed under an older one may be tried again.
    pub(crate) generation: u64,
    /// Later records may be tried before the first one opened: a secret is missing for good.
    pub(crate) last_resort: bool,
    /// Set once; nothing is done afterwards.
    pub(crate) unreadable: Option<(Unreadable, Time)>,
    /// Where the secret came from that opened a record last.
    pub(crate) proven: Option<u64>,
}

/// Which secret of TLS 1.3 protects records; TLS 1.2 knows only `Application`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Epoch {
    Early,
    Handshake,
    Application,
}

/// The key in use.
pub(crate) struct Current {
    pub(crate) key: Arc<RecordKey>,
    pub(crate) epoch: Epoch,
    /// The secret did not say so: the first record that opens may tell otherwise.
    pub(crate) epoch_guessed: bool,
    /// The traffic secret of TLS 1.3, for the next key update.
    pub(crate) secret: Option<(Suite, Zeroizing<Vec<u8>>)>,
}

impl Current {
    /// The key of a TLS 1.3 secret that opened, or may open, a record of `epoch`.
    pub(crate) fn tls13(key: Arc<RecordKey>, epoch: Epoch, suite: Suite, candidate: &Candidate) -> Self {
        Self {
            key,
            epoch,
            epoch_guessed: candidate.secret.label == Label::Unnamed,
            secret: Some((suite, candidate.secret.bytes.clone())),
        }
    }
}

/// What was in a record.
pub(crate) struct Opened {
    pub(crate) content: u8,
    pub(crate) plaintext: Bytes,
    /// Its number under its key.
    pub(crate) sequence: u64,
}

/// Whether ChangeCipherSpec protects what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// Not yet, or TLS 1.3, where it means nothing.
    Clear,
    /// It came; the hellos that say what it means are not both there yet.
    Pending,
    /// TLS 1.2 records under keys made from these.
    Tls12(Params),
}

/// How the next record is protected.
pub(crate) enum Protection {
    Clear,
    Tls12(Params),
    Tls13(Suite),
    /// The peer's hello has to come first.
    Unknown,
    /// It never will.
    Hopeless,
}

/// What became of the front of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Done,
    Blocked,
}

/// State of one direction.
pub(crate) struct Flow {
    pub(crate) side: Side,
    pub(crate) framer: Framer,
    pub(crate) queue: Queue,
    pub(crate) reader: MessageReader,
    pub(crate) seal: Seal,
    pub(crate) current: Option<Current>,
    /// Sequence number of the next record under `current`.
    pub(crate) next: u64,
    /// Protected records since then that were given up; any of them may have been the first of a new epoch.
    pub(crate) unsure: u64,
    /// Generation under which the front record was tried in vain.
    pub(crate) front_tried: Option<u64>,
    /// Generation and how many queued records were tried in vain as the first of a later epoch.
    pub(crate) ahead_tried: (u64, usize),
    pub(crate) lost: Option<Lost>,
    /// Wire length of the last record that opened.
    pub(crate) last_wire: u64,
    /// Wire bytes of all records whose content was read, those in the clear among them.
    pub(crate) read_wire: u64,
    pub(crate) bound: bool,
    /// The kernel protects what comes from now on: no record of it is seen.
    pub(crate) offloaded: bool,
    /// Until a secret that was found opens something of it.
    pub(crate) joining: Option<Box<Joining>>,
}

impl Flow {
    pub(crate) fn new(side: Side, limits: &Limits) -> Self {
        Self {
            side,
            framer: Framer::new(),
            queue: Queue::default(),
            reader: MessageReader::new(limits.hello_bytes),
            seal: Seal::Clear,
            current: None,
            next: 0,
            unsure: 0,
            front_tried: None,
            ahead_tried: (0, 0),
            lost: None,
            last_wire: 0,
            read_wire: 0,
            bound: false,
            offloaded: false,
            joining: None,
        }
    }

    /// Whether no key is wanted any more: the one that protects application data is there, or no record will come.
    pub(crate) fn is_final(&self) -> bool {
        let has_key = self
            .current
            .as_ref()
            .is_some_and(|current| current.epoch == Epoch::Application);
        has_key || (self.offloaded && self.queue.is_empty())
    }

    /// Bytes held.
    pub(crate) fn buffered(&self) -> usize {
        self.framer.buffered() + self.queue.cost() + self.reader.buffered()
    }

    /// Works off the queue as far as possible; returns whether anything moved.
    pub(crate) fn advance(&mut self, shared: &mut Shared, out: &mut Vec<Event>) -> bool {
        let mut moved = false;
        while shared.unreadable.is_none() && self.joining.is_none() {
            let step = match self.queue.pop() {
                None => break,
                Some(Item::Record(record)) => match self.record(&record, shared, out) {
                    Step::Blocked => {
                        self.queue.unpop(Item::Record(record));
                        self.look_ahead(shared, out)
                    }
                    step @ Step::Done => {
                        self.popped();
                        step
                    }
                },
                Some(Item::Damaged { header, time }) => match self.damaged(header, time, shared, out) {
                    Step::Blocked => {
                        self.queue.unpop(Item::Damaged { header, time });
                        Step::Blocked
                    }
                    step @ Step::Done => {
                        self.popped();
                        step
                    }
                },
                Some(item @ (Item::Hole { .. } | Item::Raw(_))) => {
                    self.queue.unpop(item);
                    self.search(shared, out)
                }
            };
            if step == Step::Blocked {
                break;
            }
            moved = true;
        }
        moved
    }

    /// The front item is gone.
    pub(crate) fn popped(&mut self) {
        self.front_tried = None;
        self.ahead_tried.1 = self.ahead_tried.1.saturating_sub(1);
    }

    /// How a record with this header is protected.
    pub(crate) fn protection(&mut self, header: Header, shared: &Shared) -> Protection {
        let handshake = &shared.handshake;
        if self.seal == Seal::Pending {
            match handshake.protocol() {
                None if self.side == Side::Server => return Protection::Hopeless,
                None => return Protection::Unknown,
                Some(Protocol::Tls13) => self.seal = Seal::Clear,
                Some(Protocol::Tls12) => match handshake.params() {
                    Some(params) => {
                        self.seal = Seal::Tls12(params);
                        self.current = None;
                        self.next = 0;
                        self.reader.reset();
                    }
                    None if handshake.client_random().is_none() && self.side == Side::Client => {
                        return Protection::Hopeless;
                    }
                    None => return Protection::Unknown,
                },
            }
        }
        if let Seal::Tls12(params) = self.seal {
            return Protection::Tls12(params);
        }
        if header.content != content::APPLICATION_DATA {
            return Protection::Clear;
        }
        match handshake.suite() {
            Some(suite) if suite.protocol == Protocol::Tls13 => Protection::Tls13(suite),
            None if self.side == Side::Client && handshake.client_random().is_some() => Protection::Unknown,
            // Application data before any ChangeCipherSpec or hello: the handshake went by unseen.
            _ => Protection::Hopeless,
        }
    }

    fn record(&mut self, record: &Record, shared: &mut Shared, out: &mut Vec<Event>) -> Step {
        match self.protection(record.header, shared) {
            Protection::Clear => {
                self.read_wire += record.header.wire_length() as u64;
                self.contents(
                    record.header.content,
                    record.body.clone(),
                    record.time,
                    shared,
                    out,
                );
                Step::Done
            }
            Protection::Tls12(_) | Protection::Tls13(_) if self.front_tried == Some(shared.generation) => {
                Step::Blocked
            }
            Protection::Tls12(params) => self.open_tls12(record, &params, shared, out),
            Protection::Tls13(suite) => self.open_tls13(record, suite, shared, out),
            Protection::Unknown => Step::Blocked,
            Protection::Hopeless => {
                shared.unreadable = Some((Unreadable::NoHandshake, record.time));
                Step::Done
            }
        }
    }

    fn damaged(&mut self, header: Header, time: Time, shared: &mut Shared, out: &mut Vec<Event>) -> Step {
        match self.protection(header, shared) {
            Protection::Clear => {
                if header.content == content::CHANGE_CIPHER_SPEC {
                    self.change_cipher(shared);
                }
                self.reader.reset();
                Step::Done
            }
            Protection::Tls12(_) | Protection::Tls13(_) => {
                self.give_up_record(header, GapReason::Lost, time, shared, out);
                Step::Done
            }
            Protection::Unknown => Step::Blocked,
            Protection::Hopeless => {
                shared.unreadable = Some((Unreadable::NoHandshake, time));
                Step::Done
            }
        }
    }

    /// A protected record will not be opened: reports its plaintext and counts it.
    pub(crate) fn give_up_record(
        &mut self,
        header: Header,
        reason: GapReason,
        time: Time,
        shared: &Shared,
        out: &mut Vec<Event>,
    ) {
        if header.content == content::APPLICATION_DATA {
            let overhead = shared.handshake.suite().map_or(16, Suite::overhead);
            let length = header.body_length().saturating_sub(overhead);
            push_gap(out, self.side, length as u64, reason, time);
        }
        self.unsure += 1;
        self.reader.reset();
    }

    /// A record opened.
    pub(crate) fn opened(
        &mut self,
        opened: Opened,
        header: Header,
        time: Time,
        shared: &mut Shared,
        out: &mut Vec<Event>,
    ) {
        let Opened {
            content,
            plaintext,
            sequence,
        } = opened;
        self.next = sequence.saturating_add(1);
        self.unsure = 0;
        self.last_wire = header.wire_length() as u64;
        self.read_wire += self.last_wire;
        if !self.bound {
            self.bound = true;
            let side = self.side;
            out.push(Event::Bound { side, time });
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.epoch_guessed) {
            current.epoch_guessed = false;
            let proven = epoch_told(current.epoch, content, sequence, &plaintext);
            current.epoch = proven.unwrap_or(current.epoch);
            if let (Some(label), Some((_, secret))) =
                (proven.and_then(|epoch| label(self.side, epoch)), &current.secret)
            {
                shared.candidates.name(secret, label);
            }
        }
        self.contents(content, plaintext, time, shared, out);
    }

    /// What a record carries, once in the clear.
    fn contents(&mut self, content: u8, data: Bytes, time: Time, shared: &mut Shared, out: &mut Vec<Event>) {
        match content {
            content::APPLICATION_DATA => {
                let carries_data = self
                    .current
                    .as_ref()
                    .is_some_and(|current| current.epoch != Epoch::Handshake);
                if carries_data && !data.is_empty() {
                    out.push(Event::Plaintext {
                        side: self.side,
                        data,
                        time,
                    });
                }
            }
            content::HANDSHAKE => {
                let mut found = Vec::new();
                self.reader.record(&data, &mut found);
                for message in found {
                    self.message(&message, time, shared, out);
                }
            }
            content::CHANGE_CIPHER_SPEC => self.change_cipher(shared),
            content::ALERT if matches!(*data, [_, 0]) => out.push(Event::CloseNotify {
                side: self.side,
                time,
            }),
            _ => {}
        }
    }

    fn change_cipher(&mut self, shared: &Shared) {
        if shared.handshake.protocol() != Some(Protocol::Tls13) {
            self.seal = Seal::Pending;
            self.unsure = 0;
        }
    }

    fn message(&mut self, message: &Message, time: Time, shared: &mut Shared, out: &mut Vec<Event>) {
        let epoch = self.current.as_ref().map(|current| current.epoch);
        let is_tls13 = shared.handshake.protocol() == Some(Protocol::Tls13);
        match (message.kind, self.side) {
            (kind::CLIENT_HELLO, Side::Client) if !(is_tls13 && epoch > Some(Epoch::Early)) => {
                if let Some(hello) = parse_client_hello(&message.body) {
                    shared.handshake.client_hello(&hello);
                    shared.candidates.settle(&hello.random);
                    shared.generation += 1;
                    out.push(Event::ClientHello(Box::new(hello), time));
                }
            }
            (kind::SERVER_HELLO, Side::Server) if !(is_tls13 && epoch.is_some()) => {
                let Some(parsed) = parse_server_hello(&message.body) else {
                    return;
                };
                let agreed = shared.handshake.server_hello(&parsed);
                let has_random = shared.handshake.client_random().is_some();
                if has_random && shared.handshake.protocol() == Some(Protocol::Tls13) {
                    shared.candidates.drop_strangers();
                }
                shared.generation += 1;
                out.push(Event::ServerHello(Box::new(parsed.hello), time));
                if let Err(reason) = agreed {
                    shared.unreadable = Some((reason, time));
                }
            }
            (kind::ENCRYPTED_EXTENSIONS, Side::Server) if is_tls13 && epoch == Some(Epoch::Handshake) => {
                if let Some((alpn, early_data)) = parse_encrypted_extensions(&message.body) {
                    shared.handshake.early_answer(early_data);
                    shared.generation += 1;
                    out.extend(alpn.map(|alpn| Event::Alpn(alpn, time)));
                }
            }
            (kind::KEY_UPDATE, _) if is_tls13 && epoch == Some(Epoch::Application) => {
                if matches!(message.body.as_slice(), [0 | 1]) {
                    self.update_key();
                }
            }
            _ => {}
        }
    }

    /// The peer announced its next key (RFC 8446 §4.6.3).
    fn update_key(&mut self) {
        if let Some(next) = self.next_current() {
            self.current = Some(next);
            self.next = 0;
        }
    }

    /// The key that a KeyUpdate would bring.
    pub(crate) fn next_current(&self) -> Option<Current> {
        let (suite, secret) = self.current.as_ref()?.secret.as_ref()?;
        let secret = next_generation(*suite, secret)?;
        Some(Current {
            key: Arc::new(RecordKey::tls13(*suite, &secret)?),
            epoch: Epoch::Application,
            epoch_guessed: false,
            secret: Some((*suite, secret)),
        })
    }
}

/// What the first record that opened under a key says of the key's epoch; `None` if nothing for certain (RFC 8446 §4, §5.1).
fn epoch_told(guessed: Epoch, content: u8, sequence: u64, plaintext: &[u8]) -> Option<Epoch> {
    match (content, guessed) {
        // Guessed where a key of the handshake was in use before: nothing comes after it.
        (_, Epoch::Application) => Some(Epoch::Application),
        (content::APPLICATION_DATA, Epoch::Handshake) => Some(Epoch::Application),
        (content::HANDSHAKE, _) => match plaintext.first() {
            Some(&(kind::NEW_SESSION_TICKET | kind::KEY_UPDATE)) => Some(Epoch::Application),
            // A record further on may begin anywhere in a message.
            Some(&kind::END_OF_EARLY_DATA) if sequence == 0 => Some(Epoch::Early),
            Some(_) if sequence == 0 => Some(Epoch::Handshake),
            _ => None,
        },
        _ => None,
    }
}
