//! Protocols that are told apart by their messages: one line each. Everything that depends on the lists reads them here.

use crate::detect::{Evidence, Fit, Protocol};
use crate::{Detail, Limits, Parser, dns, kafka, mysql, postgres, redis};

/// One protocol.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which; the name of a database is that of its key under `tap` too.
    pub protocol: Protocol,
    /// How well the first bytes of a connection fit.
    pub(crate) fit: fn(&Evidence<'_>) -> Fit,
    /// Makes a parser; the flag says that the connection began before its first captured byte.
    pub parser: fn(Limits, Detail, bool) -> Box<dyn Parser>,
}

/// Databases and queues: commands and their results.
#[rustfmt::skip] // one line each
pub const DATABASES: &[Entry] = &[
    Entry { protocol: Protocol::Redis, fit: redis::fit, parser: redis::start },
    Entry { protocol: Protocol::Postgres, fit: postgres::fit, parser: postgres::start },
    Entry { protocol: Protocol::MySql, fit: mysql::fit, parser: mysql::start },
    Entry { protocol: Protocol::Kafka, fit: kafka::fit, parser: kafka::start },
];

/// Services of the network itself.
#[rustfmt::skip] // one line each
pub const SERVICES: &[Entry] = &[
    Entry { protocol: Protocol::Dns, fit: dns::fit, parser: dns::start },
];

/// All of them.
pub(crate) fn entries() -> impl Iterator<Item = &'static Entry> {
    DATABASES.iter().chain(SERVICES)
}

impl Protocol {
    /// Its entry, if it is told apart by its messages.
    #[must_use]
    pub fn entry(self) -> Option<&'static Entry> {
        entries().find(|entry| entry.protocol == self)
    }

    /// Whether it is one of commands and results.
    #[must_use]
    pub fn is_database(self) -> bool {
        DATABASES.iter().any(|entry| entry.protocol == self)
    }
}
