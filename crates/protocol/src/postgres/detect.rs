//! Whether a connection speaks the protocol of PostgreSQL.

use super::lane::is_legal;
use super::{CANCEL_REQUEST, GSS_REQUEST, SSL_REQUEST};
use crate::Side;
use crate::detect::{Evidence, Fit};

/// Protocol 3.0 and 3.2.
const VERSIONS: [u32; 2] = [0x0003_0000, 0x0003_0002];

/// How well the first bytes of a connection fit.
pub(crate) fn fit(evidence: &Evidence<'_>) -> Fit {
    if evidence.midstream {
        return midstream(evidence);
    }
    if evidence.client.is_empty() && !evidence.server.is_empty() {
        return Fit::No;
    }
    startup(evidence.client)
}

/// The client begins with one of four messages.
fn startup(client: &[u8]) -> Fit {
    let mut header = [0; 8];
    for (place, byte) in header.iter_mut().zip(client) {
        *place = *byte;
    }
    let [a, b, c, d, e, f, g, h] = header;
    let (length, code) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    if client.len() < 8 {
        // The first two bytes of the length are 0 in each.
        let is_short = client.len() < 4 || (8..=10_000).contains(&length);
        let is_fit = client.iter().take(2).all(|byte| *byte == 0) && is_short;
        let begins = [SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST, VERSIONS[0], VERSIONS[1]];
        let rest = client.get(4..).unwrap_or_default();
        let is_code = begins.iter().any(|code| code.to_be_bytes().starts_with(rest));
        return if is_fit && is_code { Fit::Maybe } else { Fit::No };
    }
    match (length, code) {
        (8, SSL_REQUEST | GSS_REQUEST) | (16, CANCEL_REQUEST) => Fit::Yes,
        (9..=10_000, code) if VERSIONS.contains(&code) => parameters(client, length),
        _ => Fit::No,
    }
}

/// Names and values in pairs, each ended by NUL, `user` among them, and a last NUL.
fn parameters(client: &[u8], length: u32) -> Fit {
    let end = usize::try_from(length).unwrap_or(usize::MAX).min(client.len());
    let pairs = client.get(8..end).unwrap_or_default();
    let is_name = |name: &[u8]| {
        name.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
    };
    let mut parts = pairs.split(|byte| *byte == 0);
    let mut has_user = false;
    while let Some(name) = parts.next() {
        if !is_name(name) {
            return Fit::No;
        }
        has_user |= name == b"user";
        let is_cut = parts.next().is_none();
        if is_cut {
            break;
        }
    }
    match has_user {
        true => Fit::Yes,
        false if client.len() < length as usize => Fit::Maybe,
        false => Fit::No,
    }
}

/// P-Pg9: three messages of the server whose lengths chain, or one whole of the client and one of the server.
fn midstream(evidence: &Evidence<'_>) -> Fit {
    let (client, server) = (
        chain(evidence.client, Side::Client),
        chain(evidence.server, Side::Server),
    );
    match (client, server) {
        (None, _) | (_, None) => Fit::No,
        (Some(client), Some(server)) if server >= 3 || client >= 3 || (client >= 1 && server >= 2) => {
            Fit::Yes
        }
        _ => Fit::Maybe,
    }
}

/// Whole messages from the beginning; `None` when that is none.
fn chain(mut bytes: &[u8], side: Side) -> Option<usize> {
    let mut whole = 0;
    while let Some((tag, rest)) = bytes.split_first() {
        if !is_legal(*tag, side) {
            return None;
        }
        let Some((length, _)) = rest.split_first_chunk() else {
            return Some(whole);
        };
        let length = u32::from_be_bytes(*length);
        if !(4..1 << 20).contains(&length) || !is_plausible(*tag, length, side) {
            return None;
        }
        let Some(after) = rest.get(length as usize..) else {
            return Some(whole);
        };
        whole += 1;
        bytes = after;
    }
    Some(whole)
}

/// Messages of a fixed length have it.
const fn is_plausible(tag: u8, length: u32, side: Side) -> bool {
    match (side, tag) {
        (Side::Client, b'S' | b'H' | b'X' | b'c')
        | (Side::Server, b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c') => length == 4,
        (Side::Server, b'Z') => length == 5,
        _ => true,
    }
}
