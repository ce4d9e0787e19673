//! Messages of DNS (RFC 1035) and what belongs together among them.
//!
//! [`Message`] reads one, as a datagram has it or a stream behind its length; [`Message::addresses`] follows the aliases of an answer from
//! the name that was asked for. [`Pairing`] finds the answer of each query. [`Parser`] does both on a connection (DNS over TCP, and inside
//! of TLS). P-N1, P-N2.

mod addresses;
mod detect;
mod exchange;
mod frames;
mod message;
mod name;
mod pairing;
mod parser;
mod rcode;
mod rdata;
mod record;
mod transfer;

pub use exchange::{Exchange, Extent, Query, Response};
pub use message::{ExtendedError, Message, MessageError, Opcode, Question};
pub use name::Name;
pub use pairing::{Answered, Asked, Pairing};
pub use parser::Parser;
pub use rcode::Rcode;
pub use record::{Answer, Record, RecordClass, RecordType};

pub(crate) use detect::fit;
pub use parser::start;
