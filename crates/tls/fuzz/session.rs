//! The body of the fuzz target, a plain function that a property test runs too.
//!
//! The input is a script: pieces of two real recordings and of the input itself, holes, secrets in any order,
//! moments of giving up. Whatever it is: no panic, bounded memory, no byte that was not sent.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the fuzzer is a test"
)]

use bytes::Bytes;
use qtap_tls::{Event, FoundSecret, FoundSecrets, Label, Limits, Secret, Session, Side, Time};
use zeroize::Zeroizing;

const RECORDINGS: [&str; 3] = [
    include_str!("../tests/fixtures/tls13_key_update.rec"),
    include_str!("../tests/fixtures/tls12_renegotiation.rec"),
    include_str!("../tests/fixtures/tls12_psk_chacha20.rec"),
];

const LIMITS: Limits = Limits {
    found_work: 1 << 20,
    waiting_bytes: 16 << 10,
    hello_bytes: 4 << 10,
    secrets: 4,
};

/// What `Session::buffered` may reach: the waiting bytes, and a record and a message of each side.
const MOST_BUFFERED: usize = LIMITS.waiting_bytes + 2 * (LIMITS.hello_bytes + 5 + (16 << 10) + 2048) + 1024;

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn secret(line: &str) -> Option<Secret> {
    let mut words = line.split(' ');
    let label = Label::from_name(words.next()?)?;
    let client_random = hex(words.next()?).try_into().ok();
    Some(Secret {
        label,
        bytes: Zeroizing::new(hex(words.next()?)),
        client_random,
        time: Time(0),
        origin: None,
    })
}

/// Runs one input.
pub(crate) fn fuzz_session(data: &[u8]) {
    let mut input = data.iter().copied();
    let Some(choice) = input.next() else { return };
    let recording = RECORDINGS[usize::from(choice) % RECORDINGS.len()];
    let mut wire = [Vec::new(), Vec::new()];
    let mut secrets = Vec::new();
    let mut truth = [Vec::new(), Vec::new()];
    for line in recording.lines() {
        match line.split_once(' ') {
            Some(("C", bytes)) => wire[0].extend(hex(bytes)),
            Some(("S", bytes)) => wire[1].extend(hex(bytes)),
            Some(("K", line)) => secrets.extend(secret(line)),
            // The server answers each line with the line reversed.
            Some(("T", typed)) => {
                let typed = hex(typed);
                for line in typed.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                    truth[1].extend(line.iter().rev());
                    truth[1].push(b'\n');
                }
                truth[0] = typed;
            }
            _ => {}
        }
    }
    let mut session = Session::new(LIMITS, choice & 0x80 != 0);
    if choice & 0x40 != 0 {
        session.await_found();
    }
    let found = FoundSecrets {
        id: 1,
        secrets: (secrets.iter())
            .map(|secret| FoundSecret::new(secret.bytes.clone(), 1))
            .collect(),
    };
    let mut events = Vec::new();
    let mut sent = [0, 0];
    while let (Some(operation), Some(amount)) = (input.next(), input.next()) {
        let side = if operation & 1 == 0 {
            Side::Client
        } else {
            Side::Server
        };
        let (at, all) = (&mut sent[side.index()], &wire[side.index()]);
        let amount = usize::from(amount) * if operation & 2 == 0 { 1 } else { 16 };
        let next = amount.min(all.len() - *at);
        match operation >> 2 & 7 {
            0..=2 => {
                let piece = Bytes::copy_from_slice(&all[*at..*at + next]);
                *at += next;
                session.bytes(side, piece, Time(1), &mut events);
            }
            3 => {
                *at += next;
                session.gap(side, next as u64, Time(1), &mut events);
            }
            4 => {
                let noise: Vec<u8> = input.by_ref().take(amount.min(64)).collect();
                session.bytes(side, noise.into(), Time(1), &mut events);
            }
            5 | 6 => {
                if let Some(secret) = secrets.get(amount % secrets.len().max(1)) {
                    session.offer(secret, &mut events);
                }
            }
            _ if session.awaits_found() && amount & 7 != 0 => {
                session.join(&found, Time(2), &mut events);
            }
            _ if session.awaits_found() => session.give_up_found(Time(2), &mut events),
            _ => session.give_up(Time(2), &mut events),
        }
        let buffered = session.buffered();
        assert!(buffered <= MOST_BUFFERED, "{buffered} bytes held");
    }
    for side in [Side::Client, Side::Server] {
        let truth = &truth[side.index()];
        let mut at = 0;
        for event in &events {
            if let Event::Plaintext { side: of, data, .. } = event
                && *of == side
            {
                let found = truth[at..]
                    .windows(data.len())
                    .position(|window| window == data.as_ref());
                at += found.unwrap_or_else(|| panic!("bytes that were not sent: {data:?}")) + data.len();
            }
        }
    }
}
