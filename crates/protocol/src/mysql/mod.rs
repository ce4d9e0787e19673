//! MySQL and MariaDB: text and prepared statements, several results, files, compression, and TLS in mid-stream (P-My1 to P-My9).

mod commands;
mod compress;
mod detect;
mod fields;
mod handshake;
mod lane;
mod login;
mod parameters;
mod reply;
mod request;
mod start;
mod statements;
mod units;
mod values;
mod wire;

use std::sync::Arc;

use bytes::Bytes;

use self::handshake::{Agreed, Offer};
use self::lane::{Expect, Lane, Message, Taken};
use self::login::Phase;
use self::reply::{Aside, Reply, Said};
use self::statements::Statements;
use self::units::{Change, Kind, Units};
use self::wire::{Framing, Wire};
use crate::ledger::Preface;
use crate::quality::Quality;
use crate::{Detail, Event, Limits, Outcome, ParseError, Session, Side, Time};

pub(crate) use detect::fit;

const NAME: &str = "mysql";
/// A side that sent nothing for so long has stalled.
const STALL_NS: u64 = 5_000_000_000;
/// Kept of the answer to a greeting: names, and the attributes of the client.
const LOGIN_BYTES: usize = 16 << 10;

/// Makes a parser; `midstream`: the connection began before its first captured byte.
#[must_use]
pub fn start(limits: Limits, detail: Detail, midstream: bool) -> Box<dyn crate::Parser> {
    Box::new(Parser::new(limits, detail, midstream))
}

/// What the next message of the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Login(Offer),
    Credential,
    File,
    Command,
}

/// Parser of one connection.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    detail: Detail,
    wire: Wire,
    client: Lane,
    server: Lane,
    phase: Phase,
    /// Sequence number of the last packet while logging in.
    sequence: u8,
    agreed: Agreed,
    units: Units,
    statements: Statements,
    preface: Preface,
    session: Session,
    quality: Quality,
    /// Who sent the last bytes.
    last: Option<Side>,
    /// When either side sent bytes.
    sent: [Option<Time>; 2],
    /// A packet of this number may still end the last reply.
    may_end: Option<u8>,
}

impl Parser {
    /// A parser of a connection from its beginning, or joined in the middle.
    #[must_use]
    pub fn new(limits: Limits, detail: Detail, midstream: bool) -> Self {
        let framing = if midstream {
            Framing::Unknown
        } else {
            Framing::Plain
        };
        let mut parser = Self {
            limits,
            detail,
            wire: Wire::new(framing, true),
            client: Lane::new(Side::Client),
            server: Lane::new(Side::Server),
            phase: if midstream { Phase::Ready } else { Phase::Greeting },
            sequence: 0,
            agreed: Agreed::default(),
            units: Units::new(limits.pending_commands, midstream),
            statements: Statements::new(detail),
            preface: Preface::default(),
            session: Session::default(),
            quality: Quality::new(NAME),
            last: None,
            sent: [None; 2],
            may_end: None,
        };
        if midstream {
            parser.client.lose(None, true);
            parser.server.lose(None, false);
        }
        parser
    }

    /// Packets of a side.
    fn packets(
        &mut self,
        side: Side,
        data: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        match side {
            Side::Client => self.feed_client(data, time, out),
            Side::Server => self.feed_server(data, time, out),
        }
    }

    fn note(&mut self, side: Side, time: Time) {
        let [client, server] = &mut self.sent;
        let sent = if side == Side::Client { client } else { server };
        *sent = Some(time);
    }

    /// `side` sent bytes a short time ago.
    fn is_under_way(&self, side: Side, time: Time) -> bool {
        let [client, server] = self.sent;
        let sent = if side == Side::Client { client } else { server };
        sent.is_some_and(|sent| time.0.saturating_sub(sent.0) < STALL_NS)
    }

    fn turn(&self) -> Turn {
        match (self.phase, self.units.front()) {
            (Phase::Login(offer), _) => Turn::Login(offer),
            (Phase::Greeting | Phase::Credentials, _) => Turn::Credential,
            (Phase::Ready, Some(unit)) if unit.reply == Reply::File => Turn::File,
            (Phase::Ready, Some(unit)) if unit.kind == Kind::ChangeUser => Turn::Credential,
            (Phase::Ready, _) => Turn::Command,
        }
    }

    fn feed_client(&mut self, mut data: &[u8], time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        let framing = self.wire.framing();
        while !data.is_empty() {
            if self.wire.framing() != framing {
                return self.unpack(Side::Client, data, time, out);
            }
            if self.phase == Phase::Greeting {
                return Err(not_this("the client speaks first"));
            }
            let turn = self.turn();
            let next = self.units.front().map(|unit| unit.sequence.wrapping_add(1));
            let sequence = match turn {
                Turn::Login(_) => Some(self.sequence.wrapping_add(1)),
                Turn::Credential if self.phase == Phase::Credentials => Some(self.sequence.wrapping_add(1)),
                Turn::Credential | Turn::File => next,
                Turn::Command => Some(0),
            };
            let statement_bytes = self.limits.statement_bytes + 256;
            let parameter_bytes = match self.detail.shows_parameters() {
                true => self.limits.preview_bytes * 2,
                false => 0,
            };
            let expect = Expect {
                sequence: sequence.filter(|_| !self.wire.is_compressed()),
                room: |first| match turn {
                    Turn::Login(_) => LOGIN_BYTES,
                    // Credentials and files are never kept.
                    Turn::Credential | Turn::File => 0,
                    Turn::Command => commands::room(first, statement_bytes, parameter_bytes),
                },
            };
            match self.client.take(&mut data, time, &expect) {
                Taken::Some => {}
                Taken::Whole(message) => {
                    if self.client_sent(&message, data, time, out)? {
                        return Ok(());
                    }
                }
                Taken::Bad(reason) => self.lose(Side::Client, Some(reason), time, out)?,
            }
        }
        Ok(())
    }

    /// A message of the client, whatever it is. Tells whether `rest` is encrypted.
    fn client_sent(
        &mut self,
        message: &Message,
        rest: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<bool, ParseError> {
        match self.turn() {
            Turn::Login(offer) => return self.login(message, offer, rest, time, out),
            Turn::Credential if self.phase == Phase::Credentials => self.sequence = message.sequence,
            Turn::Credential => self.continued(message),
            Turn::File => {
                self.continued(message);
                if let Some(unit) = self.units.current().filter(|_| message.length == 0) {
                    unit.reply = Reply::First;
                }
            }
            Turn::Command => self.asked(message, out)?,
        }
        self.units.active(message.ended);
        Ok(false)
    }

    /// The client goes on with the current command.
    fn continued(&mut self, message: &Message) {
        if let Some(unit) = self.units.current() {
            unit.sequence = message.sequence;
            unit.open.asked(message.counts);
        }
    }

    fn feed_server(&mut self, mut data: &[u8], time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        let framing = self.wire.framing();
        while !data.is_empty() {
            if self.wire.framing() != framing {
                return self.unpack(Side::Server, data, time, out);
            }
            let preview = self.limits.preview_bytes;
            let unit = self.units.front();
            let sequence = match (self.phase, unit) {
                (Phase::Greeting, _) => Some(0),
                (Phase::Login(_) | Phase::Credentials, _) => Some(self.sequence.wrapping_add(1)),
                (Phase::Ready, Some(unit)) => Some(unit.sequence.wrapping_add(1)),
                (Phase::Ready, None) => None,
            };
            let expect = Expect {
                sequence: sequence.filter(|_| !self.wire.is_compressed()),
                room: |first| reply::room(unit, first, preview),
            };
            match self.server.take(&mut data, time, &expect) {
                Taken::Some => {}
                Taken::Whole(message) => self.server_sent(&message, time, out)?,
                Taken::Bad(reason) => self.lose(Side::Server, Some(reason), time, out)?,
            }
        }
        Ok(())
    }

    /// A packet of a reply.
    fn said(&mut self, message: &Message, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        let may_end = self.may_end.take();
        let preview = self.limits.preview_bytes;
        let Some(unit) = self.units.current() else {
            let is_end = reply::is_end(message) && may_end == Some(message.sequence);
            if is_end || message.first == Some(0xff) {
                if is_end {
                    self.agreed.deprecate_eof = Some(false);
                } else {
                    // The server says that it closes the connection.
                    out.push(Event::Orphan {
                        bytes: message.counts.head_bytes,
                    });
                }
                self.server.found(out);
                return Ok(());
            }
            let reason = self.units.is_aligned().then_some("a reply without a command");
            return self.lose(Side::Server, reason, time, out);
        };
        unit.open.answered(message.counts, message.started, message.ended);
        unit.sequence = message.sequence;
        let mut aside = Aside::default();
        let said = reply::take(unit, message, &mut self.agreed, preview, &mut aside);
        if let Said::Bad(reason) = said {
            // What a hole made unreadable is no fault of the bytes.
            let reason = Some(reason).filter(|_| message.counts.gap_bytes == 0 && self.units.is_aligned());
            return self.lose(Side::Server, reason, time, out);
        }
        self.server.found(out);
        self.quality.good();
        self.units.active(message.ended);
        self.noted(aside, message.ended, said == Said::Done, out);
        Ok(())
    }

    /// What a reply tells of the session and its statements.
    fn noted(&mut self, aside: Aside, time: Time, is_done: bool, out: &mut Vec<Event>) {
        let (mut change, mut prepared, mut described) = (Change::Nothing, None, None);
        if let Some(unit) = self.units.current() {
            if let Some((id, parameters)) = aside.prepared {
                unit.id = Some(id);
                unit.parameters = parameters;
            }
            let has_columns = aside.has_cursor || self.agreed.cache_metadata == Some(true);
            let is_success = is_done && unit.result.error.is_none();
            if let (true, Some(id)) = (is_success, unit.id) {
                let columns = Arc::clone(&unit.columns);
                if unit.kind == Kind::Prepare {
                    prepared = Some((
                        id,
                        unit.parameters,
                        Arc::clone(&unit.statement),
                        Arc::clone(&columns),
                    ));
                }
                described = Some((id, columns)).filter(|_| has_columns);
            }
            if is_success {
                change = std::mem::take(&mut unit.change);
            }
        }
        if is_done {
            self.may_end = aside.may_end;
            self.units.finish(time, out);
        }
        // While it is not proved which reply is whose, an id may be that of another statement.
        if let (Some((id, parameters, statement, columns)), true) = (prepared, self.units.is_aligned()) {
            self.statements.prepare(id, &statement, parameters);
            self.units.resolve(id, &columns);
        }
        if let Some((id, columns)) = described.filter(|(_, columns)| !columns.is_empty()) {
            self.statements.describe(id, columns);
        }
        match change {
            Change::Nothing => {}
            Change::Database(name) => self.session.database = Some(name),
            Change::User(session) => {
                self.session = session;
                self.statements.forget_all();
            }
            Change::Reset => self.statements.forget_all(),
        }
        self.changed_database(aside.database);
    }

    fn changed_database(&mut self, name: Option<String>) {
        if let Some(name) = name {
            self.session.database = Some(name).filter(|name| !name.is_empty()).map(Into::into);
        }
    }

    /// Where messages begin is not known any more. `reason`: what was wrong with those of `side`.
    fn lose(
        &mut self,
        side: Side,
        reason: Option<&'static str>,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        // After a hole, a client as a rule begins a command: it writes each at once.
        let may_try = reason.is_none();
        match side {
            Side::Client => self.client.lose(reason, may_try),
            Side::Server => self.server.lose(reason, false),
        }
        if self.phase != Phase::Ready {
            // Whether it is compressed was not seen.
            let is_known = self.phase == Phase::Credentials && !self.agreed.is_compressed;
            let framing = if is_known {
                Framing::Plain
            } else {
                Framing::Unknown
            };
            self.wire = Wire::new(framing, false);
            self.phase = Phase::Ready;
            self.client.lose(None, false);
            self.server.lose(None, false);
        }
        self.preface = Preface::default();
        self.may_end = None;
        if side == Side::Client {
            // Another user may have come, whose statements have the ids of those that are known.
            self.statements.forget_all();
        }
        self.session.database = None;
        self.units.lose(time, out);
        if reason.is_some() {
            self.quality.bad()
        } else {
            Ok(())
        }
    }

    /// A hole among packets.
    fn missing(
        &mut self,
        side: Side,
        length: u64,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        let passed = match side {
            Side::Client => self.client.pass(length, time),
            Side::Server => self.server.pass(length, time),
        };
        match (passed, side) {
            (None, _) => self.lose(side, None, time, out),
            (Some(Taken::Whole(message)), Side::Client) => {
                self.client_sent(&message, &[], time, out).map(|_| ())
            }
            (Some(Taken::Whole(message)), Side::Server) => self.server_sent(&message, time, out),
            (Some(_), _) => Ok(()),
        }
    }
}

const fn not_this(reason: &'static str) -> ParseError {
    ParseError::NotThisProtocol {
        protocol: NAME,
        reason,
    }
}

impl crate::Parser for Parser {
    fn bytes(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if data.is_empty() {
            return Ok(());
        }
        if self.last == Some(side.peer()) {
            match side {
                Side::Client => self.client.turn(),
                Side::Server => self.server.turn(),
            }
            self.wire.turn(side);
        }
        self.last = Some(side);
        self.note(side, time);
        self.unpack(side, &data, time, out)
    }

    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if length == 0 {
            return Ok(());
        }
        self.unpack_gap(side, length, time, out)
    }

    fn eof(&mut self, _side: Side, _time: Time, _out: &mut Vec<Event>) {}

    fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        self.client.found(out);
        self.server.found(out);
        self.units.end_all(Outcome::Canceled, time, out);
    }

    fn resync(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        // A file, a long statement or a result on its way takes its time; only memory may be short.
        if self.is_under_way(side, time) {
            match side {
                Side::Client => self.client.shed(),
                Side::Server => self.server.shed(),
            }
            return;
        }
        self.wire.lose(side, false);
        // A stall is no proof of another protocol.
        _ = self.lose(side, None, time, out);
    }

    fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        self.units.expire(before, out);
    }

    fn buffered(&self, side: Side) -> usize {
        self.wire.held(side)
            + match side {
                Side::Client => self.client.held(),
                Side::Server => self.server.held(),
            }
    }

    fn skippable(&self, _side: Side) -> u64 {
        0
    }
}
