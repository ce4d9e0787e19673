//! Databases and queues that are told apart: one line each. Everything that depends on the list reads it here.

use crate::detect::{Evidence, Fit, Protocol};
use crate::{Detail, Limits, Parser, kafka, mysql, postgres, redis};

/// One protocol of commands and results.
#[derive(Clone, Copy, Debug)]
pub struct Database {
    /// Which; its name is that of its key under `tap` too.
    pub protocol: Protocol,
    /// How well the first bytes of a connection fit.
    pub(crate) fit: fn(&Evidence<'_>) -> Fit,
    /// Makes a parser; the flag says that the connection began before its first captured byte.
    pub parser: fn(Limits, Detail, bool) -> Box<dyn Parser>,
}

/// All of them.
#[rustfmt::skip] // one line each
pub const DATABASES: &[Database] = &[
    Database { protocol: Protocol::Redis, fit: redis::fit, parser: redis::start },
    Database { protocol: Protocol::Postgres, fit: postgres::fit, parser: postgres::start },
    Database { protocol: Protocol::MySql, fit: mysql::fit, parser: mysql::start },
    Database { protocol: Protocol::Kafka, fit: kafka::fit, parser: kafka::start },
];

impl Protocol {
    /// Its entry, if it is a protocol of commands and results.
    #[must_use]
    pub fn database(self) -> Option<&'static Database> {
        DATABASES.iter().find(|entry| entry.protocol == self)
    }
}
