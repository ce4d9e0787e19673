//! Whether a connection speaks the protocol of MySQL.

use super::{compress, start};
use crate::detect::{Evidence, Fit};

/// Longest greeting.
const GREETING_BYTES: u32 = 512;
/// Longest version in it.
const VERSION_BYTES: usize = 128;
/// Packets of a result that prove it without a command.
const CHAINED: usize = 3;

/// How well the first bytes of a connection fit.
pub(crate) fn fit(evidence: &Evidence<'_>) -> Fit {
    if evidence.midstream {
        return midstream(evidence);
    }
    match (evidence.client, evidence.server) {
        // The server is the first to speak.
        (client, []) if !client.is_empty() => Fit::No,
        (client, server) => first(server).min(answer(client)),
    }
}

/// The greeting, or why there is none.
fn first(server: &[u8]) -> Fit {
    let Some((length, sequence, payload)) = start::header(server) else {
        // The length of a greeting fits two bytes.
        return if server.get(2).is_none_or(|byte| *byte == 0) {
            Fit::Maybe
        } else {
            Fit::No
        };
    };
    if sequence != 0 || length > GREETING_BYTES {
        return Fit::No;
    }
    match payload {
        [] => Fit::Maybe,
        [10, rest @ ..] if length >= 30 => greeting(rest),
        // A host that is blocked, or more connections than allowed.
        [0xff, low, high, message @ ..] => {
            let is_code = (1000..=5000).contains(&u16::from_le_bytes([*low, *high]));
            let is_text = message.iter().all(|byte| matches!(byte, b' '..=b'~' | 0x80..));
            match is_code && is_text && length > 12 {
                true if payload.len() >= length as usize => Fit::Yes,
                true => Fit::Maybe,
                false => Fit::No,
            }
        }
        [0xff, ..] if length > 12 => Fit::Maybe,
        _ => Fit::No,
    }
}

/// After its first byte: a version, id of the thread, 8 bytes of the challenge, and 0.
fn greeting(payload: &[u8]) -> Fit {
    let window = payload.get(..VERSION_BYTES).unwrap_or(payload);
    let is_graphic = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let Some(end) = memchr::memchr(0, window) else {
        let is_open = is_graphic(window) && window.len() < VERSION_BYTES;
        return if is_open { Fit::Maybe } else { Fit::No };
    };
    if end == 0 || !is_graphic(window.get(..end).unwrap_or_default()) {
        return Fit::No;
    }
    match payload.get(end + 1 + 4 + 8) {
        Some(0) => Fit::Yes,
        Some(_) => Fit::No,
        None => Fit::Maybe,
    }
}

/// What the client answers has the next sequence number.
fn answer(client: &[u8]) -> Fit {
    match start::header(client) {
        Some((_, 1, _)) | None => Fit::Yes,
        Some(_) => Fit::No,
    }
}

/// P-My8: a whole command of the client and the beginning of its reply; two commands; or packets of a result that follow each other.
fn midstream(evidence: &Evidence<'_>) -> Fit {
    let client = commands(evidence.client);
    let server = packets(evidence.server);
    match (client, server) {
        (Some(2..), _) => Fit::Yes,
        (Some(1..), Some((1, 1..))) => Fit::Yes,
        (Some(_), Some((_, CHAINED..))) => Fit::Yes,
        (Some(_), _) => Fit::Maybe,
        (None, _) => Fit::No,
    }
}

/// Whole commands from the beginning, where nothing else follows; `None` when that begins no command.
fn commands(mut bytes: &[u8]) -> Option<usize> {
    let is_compressed = start::command(bytes) == Fit::No && compress::command_frame(bytes) != Fit::No;
    let (header, begins): (usize, fn(&[u8]) -> Fit) = if is_compressed {
        (7, compress::command_frame)
    } else {
        (4, start::command)
    };
    let mut whole = 0;
    while !bytes.is_empty() {
        let Some((length, _, _)) = start::header(bytes) else {
            return Some(whole);
        };
        match (begins(bytes), bytes.get(header + length as usize..)) {
            (Fit::No, _) => return if whole > 0 { Some(whole) } else { None },
            (Fit::Yes, Some(rest)) => {
                whole += 1;
                bytes = rest;
            }
            _ => return Some(whole),
        }
    }
    Some(whole)
}

/// Sequence number of the first packet, and how many whole ones there are whose numbers follow each other; `None` without one.
fn packets(mut bytes: &[u8]) -> Option<(u8, usize)> {
    let (_, first, _) = start::header(bytes)?;
    if start::reply(bytes, Some(1)) == Fit::No && compress::reply_frame(bytes, 1) == Fit::Yes {
        return Some((first, 1));
    }
    let mut whole = 0_usize;
    if first == 1 && start::reply(bytes, Some(1)) != Fit::Yes {
        return None;
    }
    while let Some((length, sequence, payload)) = start::header(bytes) {
        let is_next = usize::from(sequence) == (usize::from(first) + whole) % 256;
        if !is_next || length == 0 || length > 1 << 20 {
            break;
        }
        let Some(rest) = payload.get(length as usize..) else {
            break;
        };
        whole += 1;
        bytes = rest;
    }
    Some((first, whole))
}
