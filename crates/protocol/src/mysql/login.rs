//! Logging in (P-My3), and the request for TLS.

use bytes::Bytes;

use super::fields::Fields;
use super::handshake::{self, Login, Offer, User};
use super::lane::Message;
use super::reply::{self, Aside};
use super::units::{Kind, Unit};
use super::wire::{Framing, Wire};
use super::{NAME, Parser, not_this};
use crate::statement::Statement;
use crate::{Event, ParseError, Session, Side, Time};

/// How far logging in has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The server is to speak.
    Greeting,
    /// The client is to answer.
    Login(Offer),
    /// Credentials are exchanged (P-My3).
    Credentials,
    /// Commands.
    Ready,
}

impl Parser {
    /// The answer to the greeting. Tells whether `rest` is encrypted.
    pub(super) fn login(
        &mut self,
        message: &Message,
        offer: Offer,
        rest: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<bool, ParseError> {
        self.sequence = message.sequence;
        self.quality.good();
        match handshake::login(&message.kept, message.length, offer) {
            Some(Login::Tls) => {
                out.push(Event::StartTls {
                    client: Bytes::copy_from_slice(rest),
                    server: Bytes::new(),
                    time,
                });
                Ok(true)
            }
            Some(Login::User(user)) => {
                let User {
                    name,
                    database,
                    client,
                    agreed,
                } = user;
                self.session = Session {
                    user: Some(name.into()).filter(|name: &std::sync::Arc<str>| !name.is_empty()),
                    database: database.map(Into::into),
                    client: client.map(Into::into),
                };
                self.agreed = agreed;
                self.phase = Phase::Credentials;
                Ok(false)
            }
            Some(Login::Old) => Err(ParseError::Fatal {
                protocol: NAME,
                reason: "a protocol older than 4.1, which is not parsed",
            }),
            None if message.counts.gap_bytes > 0 => {
                self.lose(Side::Client, None, time, out)?;
                Ok(false)
            }
            None => Err(not_this("no answer to a greeting")),
        }
    }

    /// A message of the server, whatever it is.
    pub(super) fn server_sent(
        &mut self,
        message: &Message,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        if self.phase == Phase::Ready {
            return self.said(message, time, out);
        }
        self.sequence = message.sequence;
        self.units.active(message.ended);
        match (self.phase, message.first) {
            (_, Some(0xff)) => self.refused(message, out),
            (_, None) if message.counts.gap_bytes > 0 => self.lose(Side::Server, None, time, out)?,
            (Phase::Greeting, _) => match handshake::greeting(&message.kept) {
                Some(offer) => self.phase = Phase::Login(offer),
                None if message.counts.gap_bytes > 0 => self.lose(Side::Server, None, time, out)?,
                None => return Err(not_this("no greeting")),
            },
            (Phase::Credentials, Some(0)) => {
                self.phase = Phase::Ready;
                let mut aside = Aside::default();
                reply::greeted(message, &self.agreed, &mut aside);
                self.changed_database(aside.database);
                if self.agreed.is_compressed {
                    self.wire = Wire::new(Framing::Compressed, true);
                }
            }
            // Another way to log in, a key, or the next factor.
            (Phase::Credentials, _) => {}
            (Phase::Login(_) | Phase::Ready, _) => return Err(not_this("the server answers itself")),
        }
        Ok(())
    }

    /// Logging in failed: a command of its own.
    fn refused(&mut self, message: &Message, out: &mut Vec<Event>) {
        let mut fields = Fields(&message.kept);
        fields.byte();
        let Some((error, tag)) = reply::error(fields, false) else {
            return;
        };
        let mut unit = Unit::new(Kind::Simple, Statement::named("COM_CONNECT".to_owned()).into());
        unit.open.answered(message.counts, message.started, message.ended);
        unit.fail(error, tag);
        let started = message.started;
        self.command(unit, None, Vec::new(), [started, started], out);
        self.units.finish(message.ended, out);
        self.phase = Phase::Ready;
    }
}
