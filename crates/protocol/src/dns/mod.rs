//! Messages of DNS (RFC 1035), one datagram at a time.
//!
//! What they are wanted for is what addresses are called: [`Message::addresses`] follows the aliases of an answer from the name that was
//! asked for. P-N1.

mod addresses;
mod message;
mod name;

pub use message::{Answer, Message, MessageError, Question, Record, RecordType};
pub use name::Name;
