//! Redis: RESP2 and RESP3, pipelining, publish and subscribe, transactions (P-R1 to P-R7).

mod commands;
mod detect;
mod keys;
mod lane;
mod queue;
mod reader;
mod reply;
mod request;
mod subscriptions;
mod transaction;

use std::sync::Arc;

use bytes::Bytes;

use self::commands::{Answer, answer, has_secret_reply, is_blocking, is_message, runs_script, subscription};
use self::lane::{Lane, Taken};
use self::queue::{Extent, Queue, Traits};
use self::reader::Grammar;
use self::reply::{Reply, integer};
use self::request::Request;
use self::subscriptions::Subscriptions;
use self::transaction::Transaction;
use crate::quality::Quality;
use crate::{CommandResult, Detail, Event, Limits, Outcome, ParseError, REDACTED, Session, Side, Time, sql};

pub(crate) use detect::fit;

const NAME: &str = "redis";

/// Makes a parser; `midstream`: the connection began before its first captured byte.
#[must_use]
pub fn start(limits: Limits, detail: Detail, midstream: bool) -> Box<dyn crate::Parser> {
    Box::new(Parser::new(limits, detail, midstream))
}

/// Whether the server answers (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replies {
    On,
    Off,
    /// Not to the next command.
    Skip,
}

/// Parser of one connection.
#[derive(Debug)]
pub struct Parser {
    detail: Detail,
    client: Lane,
    server: Lane,
    request: Request,
    reply: Reply,
    queue: Queue,
    quality: Quality,
    session: Session,
    /// What a command asked for, in force once it was answered.
    wanted: Option<Session>,
    replies: Replies,
    subscriptions: Subscriptions,
    transaction: Transaction,
    is_monitor: bool,
}

impl Parser {
    /// A parser of a connection from its beginning, or joined in the middle.
    #[must_use]
    pub fn new(limits: Limits, detail: Detail, midstream: bool) -> Self {
        Self {
            detail,
            client: Lane::new(Grammar::Requests, midstream),
            server: Lane::new(Grammar::Replies, midstream),
            request: Request::new(limits.statement_bytes),
            reply: Reply::new(limits.preview_bytes),
            queue: Queue::new(limits.pending_commands, midstream),
            quality: Quality::new(NAME),
            session: Session::default(),
            wanted: None,
            replies: Replies::On,
            subscriptions: Subscriptions::default(),
            transaction: Transaction::new(midstream),
            is_monitor: false,
        }
    }

    fn feed_client(&mut self, mut data: &[u8], time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        while !data.is_empty() {
            match self.client.take(&mut data, time, &mut self.request) {
                Taken::Some => {}
                Taken::Whole(extent) => self.command(extent, out)?,
                Taken::Bad(reason) => self.lose(Side::Client, Some(reason), time, out)?,
            }
        }
        Ok(())
    }

    fn feed_server(&mut self, mut data: &[u8], time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        while !data.is_empty() {
            match self.server.take(&mut data, time, &mut self.reply) {
                Taken::Some => {}
                Taken::Whole(extent) => self.value(extent, out)?,
                Taken::Bad(reason) => self.lose(Side::Server, Some(reason), time, out)?,
            }
        }
        Ok(())
    }

    /// A whole command was read.
    fn command(&mut self, extent: Extent, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if self.request.is_inline && self.request.split_inline().is_none() {
            return self.lose(Side::Client, Some("a line that is no command"), extent.ended, out);
        }
        self.client.found(Side::Client, out);
        if self.request.count == 0 {
            // An empty line or array, which the server ignores.
            self.request.clear();
            return Ok(());
        }
        self.quality.good();
        let name = self.request.name();
        let session = self.wanted.as_ref().unwrap_or(&self.session);
        let command = self.request.command(session.clone(), self.detail.values);
        let label = self.transaction.asked(&name, || command.statement().into_owned());
        let traits = self.traits(&name, label);
        self.note_session(&name);
        self.request.clear();
        self.queue.command(command, traits, extent, out);
        if self.queue.is_flooded() {
            return self.lose(Side::Server, None, extent.ended, out);
        }
        Ok(())
    }

    fn traits(&mut self, name: &str, label: Option<String>) -> Traits {
        let answer = answer(name);
        let left = match (answer, self.request.count.saturating_sub(1)) {
            (Answer::Confirmations(_), 0) => None,
            (Answer::Confirmations(_), channels) => Some(channels),
            _ => Some(1),
        };
        Traits {
            label,
            answer,
            left,
            is_secret: has_secret_reply(name),
            is_blocking: is_blocking(name),
            is_silent: self.is_silent(name),
        }
    }

    /// P-R2: what `CLIENT REPLY` did to the commands after it.
    fn is_silent(&mut self, name: &str) -> bool {
        let mode = (name == "CLIENT" && self.request.word(1).as_deref() == Some("REPLY"))
            .then(|| self.request.word(2))
            .flatten();
        match (mode.as_deref(), self.replies) {
            (Some("ON"), _) => self.replies = Replies::On,
            (Some("OFF"), _) => self.replies = Replies::Off,
            (Some("SKIP"), Replies::On) => {
                self.replies = Replies::Skip;
                return true;
            }
            (_, Replies::Skip) => {
                self.replies = Replies::On;
                return true;
            }
            _ => {}
        }
        self.replies == Replies::Off
    }

    /// P-R6: what later commands of the session depend on.
    fn note_session(&mut self, name: &str) {
        let mut next = self.wanted.clone().unwrap_or_else(|| self.session.clone());
        let text = |index| self.request.text(index).map(Arc::<str>::from);
        match (name, self.request.word(1).as_deref()) {
            ("SELECT", Some(_)) => next.database = text(1),
            ("CLIENT", Some("SETNAME")) => next.client = text(2),
            ("HELLO", Some(_)) => {
                for index in 2..self.request.arguments.len() {
                    match self.request.word(index).as_deref() {
                        Some("AUTH") => next.user = text(index + 1),
                        Some("SETNAME") => next.client = text(index + 1),
                        _ => {}
                    }
                }
            }
            ("AUTH", Some(_)) if self.request.count == 3 => next.user = text(1),
            ("RESET", _) => next = Session::default(),
            _ => return,
        }
        self.wanted = Some(next);
    }

    /// A whole value of the server was read.
    fn value(&mut self, extent: Extent, out: &mut Vec<Event>) -> Result<(), ParseError> {
        self.server.found(Side::Server, out);
        self.quality.good();
        let kind = self.reply.kind;
        if self.is_message() {
            self.reply.clear();
            out.push(Event::Orphan { bytes: extent.bytes });
            return Ok(());
        }
        let more = self.confirm();
        let is_error = self.reply.is_error();
        let (answer, result) = self.result();
        self.settle(is_error);
        let belongs = self.queue.reply(kind, result, more, extent, out);
        if !belongs {
            out.push(Event::Orphan { bytes: extent.bytes });
        }
        match answer {
            Some(Answer::Monitor) if !is_error => self.is_monitor = true,
            Some(Answer::Replication) if !is_error => {
                return Err(ParseError::Fatal {
                    protocol: NAME,
                    reason: "a stream of replication follows, which is not parsed",
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// How the first command is answered, and what the reply comes to, as far as it is shown.
    fn result(&mut self) -> (Option<Answer>, CommandResult) {
        let Some(first) = self.queue.first() else {
            return (None, self.reply.take(true));
        };
        let (answer, is_exec, runs_script) = (first.answer, first.name == "EXEC", runs_script(&first.name));
        let is_hidden = !self.detail.shows_values()
            || first.is_secret
            || is_exec && self.transaction.hides_results() && !self.reply.is_error();
        let mut executed = CommandResult::default();
        if is_exec {
            self.transaction.executed(&self.reply, !is_hidden, &mut executed);
        } else {
            self.transaction.answered(first, &self.reply);
        }
        let mut result = self.reply.take(is_hidden);
        result.tags = executed.tags;
        result.truncated |= executed.truncated;
        result.error = result.error.or(executed.error);
        if let (Some(error), false) = (&mut result.error, self.detail.shows_values()) {
            error.message = match is_exec || runs_script {
                // Of a script, what it says.
                true => format!("{} {REDACTED}", error.code),
                false => sql::masked_span(&error.message),
            };
        }
        (Some(answer), result)
    }

    /// What `SELECT`, `HELLO` and their like asked for is in force, unless they failed.
    fn settle(&mut self, is_error: bool) {
        let is_reset = self.queue.first().is_some_and(|first| first.name == "RESET");
        let is_of_session = self.queue.first().is_some_and(|first| {
            matches!(
                first.name.as_str(),
                "SELECT" | "CLIENT" | "HELLO" | "AUTH" | "RESET"
            )
        });
        if is_of_session {
            let wanted = self.wanted.take();
            if let (Some(wanted), false) = (wanted, is_error) {
                self.session = wanted;
            }
            self.is_monitor &= !is_reset;
        }
    }

    /// Whether the value answers no command (P-R2).
    fn is_message(&mut self) -> bool {
        if self.is_monitor && self.reply.kind == b'+' {
            // `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`
            let is_time = self.reply.text().split_once(' ').is_some_and(|(time, rest)| {
                rest.starts_with('[') && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            });
            return is_time;
        }
        let heading = self.reply.element(0);
        match self.reply.kind {
            b'>' => subscription(heading).is_none() || !self.awaits_confirmation(),
            b'*' if self.subscriptions.are_forgotten() && subscription(heading).is_some() => {
                !self.awaits_confirmation()
            }
            b'*' => self.subscriptions.any() && is_message(heading),
            _ => false,
        }
    }

    fn awaits_confirmation(&mut self) -> bool {
        let heading = self.reply.element(0).to_vec();
        self.queue.first().is_some_and(|first| {
            matches!(first.answer, Answer::Confirmations(_))
                && first.name.as_bytes().eq_ignore_ascii_case(&heading)
        })
    }

    /// Whether the first command has more replies after this one (P-R3).
    fn confirm(&mut self) -> bool {
        if !matches!(self.reply.kind, b'>' | b'*') || !self.awaits_confirmation() {
            return false;
        }
        let Some((channels, begins)) = subscription(self.reply.element(0)) else {
            return false;
        };
        let remaining = self.subscriptions.confirm(
            channels,
            begins,
            self.reply.element(1),
            integer(self.reply.element(2)),
        );
        match self.queue.first().and_then(|first| first.left) {
            Some(left) => left > 1,
            None => remaining > 0,
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
        match side {
            Side::Client => {
                self.request.clear();
                self.client.seek(reason);
            }
            Side::Server => {
                self.reply.clear();
                self.server.seek(reason);
            }
        }
        self.wanted = None;
        self.transaction.lose();
        self.queue.lose(time, out);
        if reason.is_some() {
            self.quality.bad()
        } else {
            Ok(())
        }
    }
}

impl crate::Parser for Parser {
    fn bytes(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        match side {
            Side::Client => self.feed_client(&data, time, out),
            Side::Server => self.feed_server(&data, time, out),
        }
    }

    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if length == 0 {
            return Ok(());
        }
        let passed = match side {
            Side::Client => self.client.pass(length, time, &mut self.request),
            Side::Server => self.server.pass(length, time, &mut self.reply),
        };
        match (passed, side) {
            (None, _) => self.lose(side, None, time, out),
            (Some(Taken::Whole(extent)), Side::Client) => self.command(extent, out),
            (Some(Taken::Whole(extent)), Side::Server) => self.value(extent, out),
            (Some(_), _) => Ok(()),
        }
    }

    fn eof(&mut self, _side: Side, _time: Time, _out: &mut Vec<Event>) {}

    fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        self.client.found(Side::Client, out);
        self.server.found(Side::Server, out);
        self.queue.end_all(Outcome::Canceled, time, out);
    }

    fn resync(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        // A stall is no proof of another protocol.
        _ = self.lose(side, None, time, out);
    }

    fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        self.queue.expire(before, out);
    }

    fn buffered(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client.held() + self.request.held(),
            Side::Server => self.server.held() + self.reply.held(),
        }
    }

    fn skippable(&self, _side: Side) -> u64 {
        0
    }
}
