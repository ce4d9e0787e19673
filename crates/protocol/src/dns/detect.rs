//! Whether a stream carries DNS (P-D6): messages behind their length (RFC 7766, section 8).

use super::message::{HEADER, Header, RCODE, RESPONSE, opcode};
use super::{Message, Opcode};
use crate::Side;
use crate::detect::{Evidence, Fit};

/// Bytes of the length before a message.
pub(super) const LENGTH: usize = 2;
/// The shortest message: header and a question for the root.
const SHORTEST: usize = HEADER + 5;
/// Bytes of the shortest record: the root's, without data.
const RECORD: usize = 11;
/// The bit that is zero in every message (RFC 1035, section 4.1.1).
const RESERVED: u16 = 0x0040;
/// Additional records of a query: EDNS and a signature.
const QUERY_ADDITIONALS: u16 = 2;
/// Ports of DNS over TCP and inside of TLS (RFC 7858).
const PORTS: [u16; 2] = [53, 853];

/// What bytes look like that may begin with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// No message begins here.
    No,
    /// One may.
    Maybe,
    /// One does, of so many bytes with its length.
    Message(usize),
}

/// Looks at the beginning of `bytes`, which `side` sent. Constant time until the message is whole, so that it may be asked at every byte.
pub(super) fn look(bytes: &[u8], side: Side) -> Look {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        return Look::Maybe;
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length < SHORTEST || !begins_plausibly(rest, side) {
        return Look::No;
    }
    let Ok(header) = Header::read(rest) else {
        return Look::Maybe;
    };
    if !is_plausible(&header, side, length) {
        return Look::No;
    }
    match rest.get(..length) {
        None => Look::Maybe,
        Some(message) if Message::parse(message).is_ok_and(|message| message.is_whole) => {
            Look::Message(LENGTH + length)
        }
        Some(_) => Look::No,
    }
}

/// As much of a header as there is.
fn begins_plausibly(rest: &[u8], side: Side) -> bool {
    let word = |at: usize| {
        let bytes = rest.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    let are_flags = |flags: u16| {
        let is_response = flags & RESPONSE != 0;
        is_response == (side == Side::Server)
            && flags & RESERVED == 0
            && matches!(opcode(flags), Opcode::QUERY | Opcode::NOTIFY | Opcode::UPDATE)
    };
    word(2).is_none_or(are_flags) && word(4).is_none_or(|questions| questions == 1)
}

/// Whether the counts go with what they are of.
fn is_plausible(header: &Header, side: Side, length: usize) -> bool {
    let records =
        usize::from(header.answers) + usize::from(header.authorities) + usize::from(header.additionals);
    let is_question = side == Side::Client && header.opcode() == Opcode::QUERY;
    let is_usual_question = header.answers == 0
        // The zone as the client has it, in a question for what changed since.
        && header.authorities <= 1
        && header.additionals <= QUERY_ADDITIONALS
        && header.flags & RCODE == 0;
    records * RECORD <= length && (!is_question || is_usual_question)
}

/// How well the first bytes of a connection fit. The ports are a hint: there a whole query is enough, elsewhere its server has to answer.
pub(crate) fn fit(evidence: &Evidence<'_>) -> Fit {
    let client = look(evidence.client, Side::Client);
    let server = look(evidence.server, Side::Server);
    let is_usual_port = PORTS.contains(&evidence.server_port);
    match (client, server) {
        (Look::Message(_), Look::Message(_)) => Fit::Yes,
        (Look::Message(_), Look::Maybe) if is_usual_port && evidence.server.is_empty() => Fit::Yes,
        // The query was sent before the capture began.
        (Look::Maybe, Look::Message(_))
            if is_usual_port && evidence.midstream && evidence.client.is_empty() =>
        {
            Fit::Yes
        }
        (Look::No, _) | (_, Look::No) => Fit::No,
        // The client speaks first.
        (Look::Maybe, _)
            if evidence.client.is_empty() && !evidence.server.is_empty() && !evidence.midstream =>
        {
            Fit::No
        }
        _ => Fit::Maybe,
    }
}
