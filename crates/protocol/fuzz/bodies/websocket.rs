//! One run of a WebSocket session over a script of frames, bytes and gaps made from arbitrary data. Shared by the fuzz target and
//! by the property tests; panics when a rule of `protocols.md` is broken.

use qtap_protocol::websocket::{Agreement, Deflate, Kind, Message, Session, is_joined};
use qtap_protocol::{Side, Time};

/// Bytes kept of a message.
const KEEP: usize = 300;

/// One call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// Bytes of a side.
    Bytes(Side, Vec<u8>),
    /// Missing bytes.
    Gap(Side, u64),
    /// Memory is short.
    Relieve,
}

/// Makes a frame that the rules allow, mostly.
fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let masked = if side == Side::Client { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => frame.push(masked | short as u8),
        long => {
            frame.push(masked | 126);
            frame.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    if side == Side::Client {
        let mask = [0x5a, first, 0x11, 0xc3];
        frame.extend_from_slice(&mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
    } else {
        frame.extend_from_slice(payload);
    }
    frame
}

/// Makes a script of calls from `data`.
pub(crate) fn script(data: &[u8]) -> Vec<Call> {
    const FIRST: [u8; 12] = [
        0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8a, 0x88, 0xc1, 0x41, 0xc2, 0x83,
    ];
    /// The examples of RFC 7692 §7.2.3, among them one that refers to the message before it.
    const PAYLOADS: [&[u8]; 6] = [
        b"Hello",
        b"\x03\xe8bye",
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\xf2\x00\x11\x00\x00",
        b"",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
    ];
    let mut calls = Vec::new();
    let mut bytes = data.iter().copied();
    while let (Some(kind), Some(value)) = (bytes.next(), bytes.next()) {
        let side = if kind & 1 == 0 { Side::Client } else { Side::Server };
        let first = FIRST[usize::from(value) % FIRST.len()];
        calls.push(match kind >> 1 {
            0..=70 => {
                let payload = PAYLOADS[usize::from(value / 12) % PAYLOADS.len()];
                Call::Bytes(side, frame(side, first, payload))
            }
            71..=90 => {
                let payload: Vec<u8> = bytes.by_ref().take(usize::from(value) * 2).collect();
                Call::Bytes(side, frame(side, first, &payload))
            }
            91..=112 => Call::Bytes(side, bytes.by_ref().take(usize::from(value)).collect()),
            113..=125 => Call::Gap(side, u64::from(value) + 1),
            _ => Call::Relieve,
        });
    }
    calls
}

/// Runs a script, each piece cut after every `step` bytes, and closes.
pub(crate) fn play(calls: &[Call], flags: u8, step: usize) -> (Session, Vec<Message>) {
    let agreement = Agreement {
        deflate: (flags & 1 == 1).then_some(Deflate {
            client_no_context_takeover: flags & 2 != 0,
            server_no_context_takeover: flags & 4 != 0,
        }),
        is_foreign: flags & 24 == 24,
        ..Agreement::default()
    };
    let keep = if flags & 32 == 0 { KEEP } else { 0 };
    let mut session = if flags & 64 == 0 {
        Session::new(agreement, keep)
    } else {
        Session::joined(keep)
    };
    let mut out = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let time = Time(index as u64 + 1);
        match call {
            Call::Bytes(side, data) => {
                for piece in data.chunks(step) {
                    session.bytes(*side, piece, time, &mut out);
                }
            }
            Call::Gap(side, length) => session.gap(*side, *length, time, &mut out),
            Call::Relieve => session.relieve(),
        }
        assert!(
            session.held() <= 512 << 10,
            "memory is bounded: {}",
            session.held()
        );
    }
    session.close(Time(calls.len() as u64 + 1), &mut out);
    (session, out)
}

/// What holds of every message.
pub(crate) fn check(session: &Session, messages: &[Message]) {
    for side in [Side::Client, Side::Server] {
        let mine = || messages.iter().filter(move |message| message.side == side);
        let traffic = session.traffic(side);
        let data = |message: &&Message| matches!(message.kind, Kind::Text | Kind::Binary | Kind::Other(_));
        assert_eq!(traffic.messages(), mine().filter(data).count() as u64);
        assert!(
            mine()
                .filter(|message| message.kind == Kind::Close && message.whole)
                .count()
                <= 1
        );
        assert!(mine().is_sorted_by_key(|message| message.time));
    }
    for message in messages {
        assert!(message.started <= message.time);
        assert!(message.payload.len() <= KEEP);
        assert!(message.gap_bytes <= message.length);
        if message.whole && !message.compressed && !message.truncated && message.gap_bytes == 0 {
            let is_kept = !message.payload.is_empty();
            assert!(!is_kept || message.payload.len() as u64 == message.length);
        }
    }
}

/// The whole check.
pub(crate) fn run(data: &[u8]) {
    let [flags, step, rest @ ..] = data else { return };
    let (client, server) = rest.split_at(rest.len() / 2);
    _ = is_joined(client, server);
    let calls = script(rest);
    let (session, whole) = play(&calls, *flags, usize::MAX);
    check(&session, &whole);
    let (split_session, split) = play(&calls, *flags, usize::from(*step).max(1));
    assert_eq!(whole, split, "the same messages however the bytes are split");
    for side in [Side::Client, Side::Server] {
        assert_eq!(session.traffic(side), split_session.traffic(side));
        assert_eq!(session.closing(side), split_session.closing(side));
    }
}
