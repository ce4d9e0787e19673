//! One TLS connection.

use bytes::Bytes;

use crate::candidates::Candidates;
use crate::event::push_gap;
use crate::flow::{Flow, Shared, Step};
use crate::handshake::Handshake;
use crate::join::Partner;
use crate::messages::kind;
use crate::queue::Item;
use crate::record::{HEADER_LENGTH, Header, content};
use crate::suite::Protocol;
use crate::{Event, Failure, GapReason, Label, OwnSecret, Secret, Side, Time, Unreadable};

/// Bounds of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ciphertext that may wait for its secret, both directions together. Default 1 MiB.
    pub waiting_bytes: usize,
    /// Bytes of one handshake message kept, a hello above all (P-D5). Default 64 KiB.
    pub hello_bytes: usize,
    /// Candidate secrets kept. Default 64.
    pub secrets: usize,
    /// Bytes of records that trials of the secrets of one search may authenticate in each direction, with an allowance for each trial.
    /// Default 256 MiB: all secrets of a process with AES-GCM, some hundred thousand numbers of short records with
    /// ChaCha20-Poly1305.
    pub found_work: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting_bytes: 1 << 20,
            hello_bytes: 64 << 10,
            secrets: 64,
            found_work: 256 << 20,
        }
    }
}

/// Decrypts one connection: TLS 1.2 with AES-GCM or ChaCha20-Poly1305, and TLS 1.3 with the same ciphers.
///
/// Cost: one copy per record, plus its decryption. Memory: [`Session::buffered`] stays under
/// [`Limits::waiting_bytes`] plus, for each direction, one record and one handshake message.
pub struct Session {
    pub(crate) limits: Limits,
    pub(crate) midstream: bool,
    /// Secrets that are found otherwise may come, if the handshake is not seen.
    pub(crate) may_join: bool,
    given_up: bool,
    /// Labels of which it has taken a secret that carries its client random, as bits.
    taken: u8,
    export: bool,
    /// Labels told as [`Event::Own`]: bits by their place in [`Label::ALL`].
    told: u8,
    /// Of flows that were given up, see [`Session::read_bytes`].
    read_before: u64,
    /// Ciphertext was lost.
    has_gap: bool,
    /// By a secret that was found, in one direction at least.
    pub(crate) is_joined: bool,
    /// What is known of the direction that was joined first, or of the handshake.
    pub(crate) partner: Partner,
    pub(crate) shared: Shared,
    pub(crate) client: Flow,
    pub(crate) server: Flow,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("bound", &self.is_bound())
            .field("waiting", &self.is_waiting())
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session from its first byte; `midstream` when the connection is older than the capture. A midstream
    /// session whose first bytes are a ClientHello after all is read like any other.
    #[must_use]
    pub fn new(limits: Limits, midstream: bool) -> Self {
        Self {
            limits,
            midstream,
            may_join: false,
            given_up: false,
            taken: 0,
            export: false,
            told: 0,
            read_before: 0,
            has_gap: false,
            is_joined: false,
            partner: Partner::default(),
            shared: Shared {
                handshake: Handshake::new(),
                candidates: Candidates::new(limits.secrets),
                generation: 0,
                last_resort: false,
                unreadable: None,
                proven: None,
            },
            client: Flow::new(Side::Client, &limits),
            server: Flow::new(Side::Server, &limits),
        }
    }

    /// Tells secrets from now on as soon as they prove to be this session's own ([`Event::Own`]): for a key log.
    pub fn export_secrets(&mut self) {
        self.export = true;
    }

    /// Whether a secret that protects application data was told.
    #[must_use]
    pub fn has_exported(&self) -> bool {
        [Label::ClientApplication, Label::ServerApplication, Label::Master]
            .iter()
            .any(|&label| self.told & bit(label) != 0)
    }

    /// Whether a secret is still of use for others, though not here: the cipher suite cannot be opened, and nothing was told.
    #[must_use]
    pub fn seeks_export(&self) -> bool {
        self.export
            && self.told == 0
            && matches!(self.shared.unreadable, Some((Unreadable::CipherSuite(_), _)))
    }

    /// Bytes on the wire, headers included, of all records whose content was read so far, both directions together: those that
    /// were opened, and those in the clear.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_before + self.client.read_wire + self.server.read_wire
    }

    /// The next ciphertext bytes of `side`.
    pub fn bytes(&mut self, side: Side, mut data: Bytes, time: Time, out: &mut Vec<Event>) {
        if self.shared.unreadable.is_some() || data.is_empty() {
            return;
        }
        let flow = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        flow.open_next(&mut data, time, &mut self.shared, out);
        if data.is_empty() && self.is_settled() {
            return;
        }
        let flow = self.flow(side);
        flow.framer.bytes(data, time, &mut flow.queue);
        if flow.joining.is_some() {
            flow.look_for_record();
            if self.over_limit() {
                self.advance(time, out);
            }
            return;
        }
        if self.looks_like_tls(side, time, out) {
            self.advance(time, out);
            self.tell_secrets(out);
            self.forget_secrets();
        }
    }

    /// `length` ciphertext bytes of `side` are missing here.
    pub fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) {
        // Before the first byte of a connection that was joined late, nothing is missing that could be told.
        let unborn = self.midstream && !self.flow(side).framer.has_started();
        if self.shared.unreadable.is_some() || unborn {
            return;
        }
        self.has_gap = true;
        let flow = self.flow(side);
        flow.framer.gap(length, time, &mut flow.queue);
        self.advance(time, out);
        self.tell_secrets(out);
    }

    /// The kernel does the TLS of what `side` sends (kTLS), from here on: `data` are bytes of the application, as its program
    /// moved them; none for a message of TLS itself. What was captured of its records before may still wait for a secret.
    pub fn offloaded(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) {
        self.flow(side).offloaded = true;
        if !data.is_empty() {
            out.push(Event::Plaintext { side, data, time });
        }
    }

    /// `length` bytes of the application are missing where the kernel does the TLS.
    pub fn offloaded_gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) {
        self.flow(side).offloaded = true;
        push_gap(out, side, length, GapReason::Lost, time);
    }

    /// Whether the kernel does the TLS of both directions, so that no secret is needed for the application's bytes.
    #[must_use]
    pub fn is_offloaded(&self) -> bool {
        self.client.offloaded && self.server.offloaded
    }

    /// A secret that the process of this connection derived. Returns whether it now is this session's own: it
    /// authenticated one of its records, or carries its client random. One that did not fit yet is kept as a candidate.
    ///
    /// Of each label it takes one secret that carries its client random: where both ends of a connection are in one process,
    /// the next is the other end's.
    pub fn offer(&mut self, secret: &Secret, out: &mut Vec<Event>) -> bool {
        if self.shared.unreadable.is_some() {
            return self.offer_for_export(secret, out);
        }
        let is_tls13 = self.shared.handshake.protocol() == Some(Protocol::Tls13);
        let mut is_anothers = false;
        let own = match (self.shared.handshake.client_random(), &secret.client_random) {
            (Some(ours), Some(its)) if ours == its => true,
            // TLS 1.2 may renegotiate under another random; TLS 1.3 never does.
            (Some(_), Some(_)) if is_tls13 => return false,
            (Some(_), Some(_)) => {
                is_anothers = true;
                false
            }
            _ => false,
        };
        let label = 1 << secret.label as u8;
        if own && self.taken & label != 0 {
            return false;
        }
        self.taken |= if own { label } else { 0 };
        if self.is_settled() {
            if let (true, Some(client_random)) = (own, secret.client_random) {
                // The handshake's, which is of use to other readers of the same bytes.
                self.tell(secret.clone(), client_random, out);
            }
            return own;
        }
        if self.shared.candidates.add(secret, own) {
            self.shared.generation += 1;
            self.shared.last_resort = false;
            self.given_up = false;
            self.advance(secret.time, out);
        } else if is_anothers {
            // A session of TLS 1.2 that resumes this one has the same secret.
            return false;
        }
        let is_own = self.shared.candidates.is_own(secret);
        self.tell_secrets(out);
        self.forget_secrets();
        is_own
    }

    /// No record can prove it: only the client random does.
    fn offer_for_export(&mut self, secret: &Secret, out: &mut Vec<Event>) -> bool {
        let random = self.shared.handshake.client_random().copied();
        match (random, secret.client_random) {
            (Some(ours), Some(its)) if ours == its && self.seeks_export() => {
                self.tell(secret.clone(), ours, out);
                true
            }
            _ => false,
        }
    }

    fn tell_secrets(&mut self, out: &mut Vec<Event>) {
        if !self.export || self.shared.candidates.is_empty() {
            return;
        }
        let random = self.shared.handshake.client_random();
        for own in self.shared.candidates.take_own(random) {
            self.told |= bit(own.secret.label);
            out.push(Event::Own(Box::new(own)));
        }
    }

    /// Tells one that is no candidate any more, unless its kind was told.
    fn tell(&mut self, secret: Secret, client_random: [u8; 32], out: &mut Vec<Event>) {
        if self.export && self.told & bit(secret.label) == 0 {
            self.told |= bit(secret.label);
            out.push(Event::Own(Box::new(OwnSecret {
                secret,
                client_random,
            })));
        }
    }

    /// Wipes secrets that can be of no use any more, and the keys made from them.
    pub(crate) fn forget_secrets(&mut self) {
        if !self.shared.candidates.is_empty() && self.is_settled() {
            self.shared.candidates.clear();
        }
    }

    /// No secret will come any more (the bounded wait is over): gives up waiting ciphertext as gaps. Records that come later are given up as they come,
    /// until another secret is offered; their numbers keep counting, so that a late secret still fits.
    pub fn give_up(&mut self, time: Time, out: &mut Vec<Event>) {
        self.given_up = true;
        self.advance(time, out);
        self.tell_secrets(out);
    }

    /// The connection is over: gives up as [`Session::give_up`] does, and reports losses after which no record was
    /// found any more.
    pub fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        self.give_up(time, out);
        if self.shared.unreadable.is_none() {
            self.client.close(time, &self.shared, out);
            self.server.close(time, &self.shared, out);
        }
    }

    /// Where the secret came from under which a record was authenticated last, told once.
    pub fn take_proven(&mut self) -> Option<u64> {
        self.shared.proven.take()
    }

    /// The secrets with an origin that should have opened a first record and did not: to be asked before [`Session::give_up`]. Nothing
    /// where anything was lost, or the session was not seen from its beginning: then a record may fail under the right secret.
    pub fn failures(&mut self) -> Vec<Failure> {
        let mut found = Vec::new();
        if self.midstream || self.has_gap || self.given_up || self.shared.unreadable.is_some() {
            return found;
        }
        for flow in [&mut self.client, &mut self.server] {
            flow.failures(&mut self.shared, &mut found);
        }
        found
    }

    /// Whether ciphertext waits for a secret.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.shared.unreadable.is_none()
            && (self.client.is_waiting(&self.shared) || self.server.is_waiting(&self.shared))
    }

    /// Whether both directions are bound to secrets.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.client.bound && self.server.bound
    }

    /// Whether no secret can be of use any more: TLS 1.3 with the application keys of both directions, whose successors follow
    /// from them.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.shared.handshake.protocol() == Some(Protocol::Tls13)
            && self.client.is_final()
            && self.server.is_final()
    }

    /// Bytes held, with an allowance for each record that waits.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.client.buffered() + self.server.buffered()
    }

    pub(crate) fn flow(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Judges the first bytes of a side; `false` while or because there is nothing to work on.
    fn looks_like_tls(&mut self, side: Side, time: Time, out: &mut Vec<Event>) -> bool {
        let midstream = self.midstream;
        let flow = self.flow(side);
        if !flow.framer.has_started() {
            // Raw bytes at the front, and no hole before them: what came first is no record header.
            let is_tls = !matches!(flow.queue.front(), Some(Item::Raw(_))) || flow.lost.is_some();
            if !is_tls && self.may_join {
                self.begin_joining(time);
            } else if !is_tls {
                self.fail(Unreadable::NotTls, time, out);
            }
            return is_tls && !midstream;
        }
        if !midstream {
            return true;
        }
        let (header, first) = match flow.queue.front() {
            Some(Item::Record(record)) => (Some(record.header), record.body.first().copied()),
            _ => {
                let partial = flow.framer.partial();
                (Header::parse(partial), partial.get(HEADER_LENGTH).copied())
            }
        };
        let is_handshake = header.is_some_and(|header| header.content == content::HANDSHAKE);
        if is_handshake && first.is_none() {
            return false;
        }
        if is_handshake && side == Side::Client && first == Some(kind::CLIENT_HELLO) {
            self.midstream = false;
            self.may_join = false;
            return true;
        }
        if self.may_join {
            self.begin_joining(time);
        } else {
            self.fail(Unreadable::NoHandshake, time, out);
        }
        false
    }

    /// Works off both queues until neither moves, and keeps the bound on waiting bytes.
    pub(crate) fn advance(&mut self, time: Time, out: &mut Vec<Event>) {
        self.advance_flows(out);
        if self.over_limit() || (self.given_up && self.is_waiting()) {
            self.shared.last_resort = true;
            self.advance_flows(out);
        }
        while self.shared.unreadable.is_none() && self.over_limit() {
            let fuller = if self.client.queue.cost() > self.server.queue.cost() {
                &mut self.client
            } else {
                &mut self.server
            };
            if !fuller.drop_front(&mut self.shared, out) {
                break;
            }
            self.advance_flows(out);
        }
        if self.given_up {
            for side in [Side::Client, Side::Server] {
                while self.shared.unreadable.is_none() && self.give_up_front(side, out) == Step::Done {}
            }
        }
        if let Some((reason, at)) = self.shared.unreadable {
            self.fail(reason, at.max(time), out);
            return;
        }
        self.client.queue.own();
        self.server.queue.own();
    }

    fn give_up_front(&mut self, side: Side, out: &mut Vec<Event>) -> Step {
        let flow = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if !flow.is_waiting(&self.shared) || !flow.drop_front(&mut self.shared, out) {
            return Step::Blocked;
        }
        self.advance_flows(out);
        Step::Done
    }

    fn advance_flows(&mut self, out: &mut Vec<Event>) {
        loop {
            let client = self.client.advance(&mut self.shared, out);
            let server = self.server.advance(&mut self.shared, out);
            if !client && !server {
                return;
            }
        }
    }

    fn over_limit(&self) -> bool {
        self.client.queue.cost() + self.server.queue.cost() > self.limits.waiting_bytes
    }

    /// Tells once that nothing can be read, and lets go of everything.
    pub(crate) fn fail(&mut self, reason: Unreadable, time: Time, out: &mut Vec<Event>) {
        self.tell_secrets(out);
        self.read_before = self.read_bytes();
        self.shared.unreadable = Some((reason, time));
        self.shared.candidates.clear();
        let offloaded = [self.client.offloaded, self.server.offloaded];
        self.client = Flow::new(Side::Client, &self.limits);
        self.server = Flow::new(Side::Server, &self.limits);
        [self.client.offloaded, self.server.offloaded] = offloaded;
        out.push(Event::Unreadable(reason, time));
    }
}

/// Place of `label` in a set of labels.
fn bit(label: Label) -> u8 {
    let place = Label::ALL.iter().position(|&other| other == label);
    place.map_or(0, |place| 1 << place)
}
