//! The Kafka parser under [`commands`], for the fuzz target and for the property tests.

use std::sync::Arc;

use qtap_protocol::kafka::{Parser, Topics};
use qtap_protocol::{Event, Side};

use self::commands::Call;

#[path = "commands.rs"]
mod commands;

/// Bytes that stand for the next number of a request.
const NUMBER: &[u8] = b"\0\0NN";

/// Messages behind their lengths, requests and replies by turns, that make arbitrary data look like traffic often enough to get deep.
const MESSAGES: [&[u8]; 28] = [
    // ApiVersions v3 and v0, with replies, the second one of them that of a broker that knows version 0 alone.
    b"\0\x12\0\x03\0\0NN\0\x01c\0\x04lib\x021\0",
    b"\0\0NN\0\0\x02\0\x12\0\0\0\x03\0\0\0\0\0\0",
    b"\0\x12\0\0\0\0NN\0\x01c",
    b"\0\0NN\0\x23\0\0\0\x01\0\x12\0\0\0\0",
    // Metadata v1, and v12 with an id.
    b"\0\x03\0\x01\0\0NN\0\x01c\xff\xff\xff\xff",
    b"\0\0NN\0\0\0\0\0\0\0\0\0\0\0\x01\0\x05\0\x01t\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0",
    b"\0\x03\0\x0c\0\0NN\0\x01c\0\0\x01\0\0",
    b"\0\0NN\0\0\0\0\0\x01\0\0\0\0\0\x02\0\0\x02t0123456789abcdef\0\x01\0\0\0\0\0\0",
    // Produce v3 with acknowledgements and without.
    b"\0\0\0\x03\0\0NN\0\x01c\xff\xff\0\x01\0\0\0\x64\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02\0\0\0\x4500000000\0\0\0\x390000\x02cccc\0\0\0\0\0\0tttttttttttttttt\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x01\x0e\0\0\0\x01\x02v\0",
    b"\0\0NN\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02\0\x06\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x09",
    b"\0\0\0\x03\0\0NN\0\x01c\xff\xff\0\0\0\0\0\x64\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02\0\0\0\x05short",
    b"\0\0NN\0\0\0\0\0\0\0\0",
    // Fetch v7 that opens a session, one of the session that forgets, v13 by id.
    b"\0\x01\0\x07\0\0NN\0\x01c\xff\xff\xff\xff\0\0\0\x64\0\0\0\x01\0\0\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\xff\xff\0\0\0\0",
    b"\0\0NN\0\0\0\0\0\0\0\0\0\x07\0\0\0\0",
    b"\0\x01\0\x07\0\0NN\0\x01c\xff\xff\xff\xff\0\0\0\x64\0\0\0\x01\0\0\xff\xff\0\0\0\0\x07\0\0\0\x01\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0",
    b"\0\0NN\0\0\0\0\0\0\0\0\0\x07\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\x0bhalf a batc",
    b"\0\x01\0\x0d\0\0NN\0\x01c\0\xff\xff\xff\xff\0\0\0\x64\0\0\0\x01\0\0\xff\xff\0\0\0\0\0\0\0\0\0\x020123456789abcdef\x01\0\x01\x01\0",
    b"\0\0NN\0\0\0\0\0\0\0\0\0\0\0\x020123456789abcdef\x02\0\0\0\x01\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\x01\0\0\0",
    // SaslHandshake v0, SaslAuthenticate v0.
    b"\0\x11\0\0\0\0NN\0\x01c\0\x05PLAIN",
    b"\0\0NN\0\0\0\0\0\0",
    b"\0\x24\0\0\0\0NN\0\x01c\0\0\0\x0a\0u\0hunter2!",
    b"\0\0NN\0\x3a\0\x03bad\0\0\0\0",
    b"\0u\0hunter2!",
    b"",
    // Heartbeat v0, and what is not described.
    b"\0\x0c\0\0\0\0NN\0\x01c\0\x01g\0\0\0\x01\0\x01m",
    b"\0\0NN\0\x1b",
    b"\0\x34\0\x05\0\0NN\0\x01cwhatever",
    b"\0\0NNwhatever",
];

/// The message at `index` in its frame, with this number.
fn frame(index: u8, number: u16) -> (Side, Vec<u8>) {
    let index = usize::from(index) % MESSAGES.len();
    let side = if index.is_multiple_of(2) {
        Side::Client
    } else {
        Side::Server
    };
    let mut message = MESSAGES[index].to_vec();
    if let Some(at) = message.windows(NUMBER.len()).position(|window| window == NUMBER) {
        message[at + 2..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    (side, [&length[..], &message].concat())
}

/// Makes a script of calls from `data`.
fn script(data: &[u8]) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut bytes = data.iter().copied();
    let (mut asked, mut told) = (0_u16, 0_u16);
    while let (Some(kind), Some(value)) = (bytes.next(), bytes.next()) {
        let side = if kind & 1 == 0 { Side::Client } else { Side::Server };
        match kind >> 1 {
            0..=40 => {
                // A request and its reply.
                asked = asked.wrapping_add(1);
                told = asked;
                for index in [value & 0xfe, value | 1] {
                    let (side, data) = frame(index, asked);
                    calls.push(Call::Bytes(side, data));
                }
            }
            41..=80 => {
                // One of either, in its own order.
                let number = match frame(value, 0).0 {
                    Side::Client => &mut asked,
                    Side::Server => &mut told,
                };
                *number = number.wrapping_add(1);
                let (side, data) = frame(value, *number);
                calls.push(Call::Bytes(side, data));
            }
            81..=90 => {
                let (side, mut data) = frame(value, asked.wrapping_add(1));
                data.truncate(usize::from(kind) % (data.len() + 1));
                calls.push(Call::Bytes(side, data));
            }
            91..=108 => calls.push(Call::Bytes(
                side,
                bytes.by_ref().take(usize::from(value) % 64).collect(),
            )),
            109..=123 => calls.push(Call::Gap(side, u64::from(value) + 1)),
            124..=125 => calls.push(Call::Resync(side)),
            _ => calls.push(Call::Expire),
        }
    }
    calls
}

const SUBJECT: commands::Subject = commands::Subject {
    // Topics of its own, so that one run teaches the next nothing.
    parser: |limits, detail, midstream| {
        Box::new(Parser::new(
            limits,
            detail,
            midstream,
            Arc::new(Topics::default()),
        ))
    },
    script: commands::Script::Own(script),
    shows_secret: |command| {
        let words = command.statement();
        words.starts_with("SaslAuthenticate") && words.contains("hunter")
    },
    can_start_tls: false,
    held_bytes: 512 << 10,
};

/// One end for each command, and no password.
#[allow(dead_code, reason = "for the property tests")]
pub(crate) fn check(events: &[Event]) {
    SUBJECT.check(events);
}

/// The whole check.
pub(crate) fn run(data: &[u8]) {
    SUBJECT.run(data);
}
