//! Secrets that nobody could name: what opens under them tells which they are.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Heard, Pair, Recording, SUITES, Step, hear, noise, talk};
use qtap_tls::{Event, Label, Limits, Session, Side, Time};
use rustls::crypto::ring::cipher_suite;

/// The recording, its traffic secrets without names and in another order.
fn anonymous(mut recording: Recording) -> Recording {
    for secret in &mut recording.secrets {
        secret.client_random = None;
        if secret.label != Label::Master {
            secret.label = Label::Unnamed;
        }
    }
    recording.secrets.reverse();
    recording
}

fn assert_read_whole(recording: &Recording) {
    let (session, heard) = hear(recording);
    assert!(heard.plain == recording.plain, "plaintext differs");
    let expected = Heard {
        plain: recording.plain.clone(),
        bound: [1, 1],
        closed: [1, 1],
        alpn: heard.alpn.clone(),
        client_hellos: heard.client_hellos,
        server_hellos: heard.server_hellos,
        ..Heard::default()
    };
    assert_eq!(heard, expected);
    assert!(session.is_bound() && !session.is_waiting());
}

#[test]
fn every_suite_is_read_whole_without_names() {
    for suite in SUITES {
        assert_read_whole(&anonymous(Pair::new(suite).run(&talk())));
    }
}

#[test]
fn a_retry_is_read_whole_without_names() {
    let pair = Pair::new(cipher_suite::TLS13_AES_256_GCM_SHA384).with_retry();
    assert_read_whole(&anonymous(pair.run(&talk())));
}

#[test]
fn early_data_is_read_whole_without_names() {
    let mut pair = Pair::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
    pair.client.enable_early_data = true;
    pair.server.max_early_data_size = 1 << 14;
    pair.run(&talk());
    let mut script = vec![Step::Early(noise(3000, 9))];
    script.extend(talk());
    let accepted = pair.run(&script);
    assert!(accepted.early_accepted);
    assert_read_whole(&anonymous(accepted));
}

/// The epoch of a key must be known for that.
#[test]
fn key_updates_are_followed_without_names() {
    let recording = Pair::new(cipher_suite::TLS13_CHACHA20_POLY1305_SHA256).run(&[
        Step::Send(Side::Client, noise(100, 1)),
        Step::KeyUpdate(Side::Client),
        Step::Send(Side::Client, noise(20_000, 2)),
        Step::KeyUpdate(Side::Server),
        Step::Send(Side::Server, noise(100, 4)),
        Step::Close(Side::Client),
        Step::Close(Side::Server),
    ]);
    assert_read_whole(&anonymous(recording));
}

/// The handshake secrets are missing: the first record that opens is one of the application.
#[test]
fn application_secrets_alone_are_recognised_without_names() {
    let mut recording = Pair::new(cipher_suite::TLS13_AES_128_GCM_SHA256).run(&[
        Step::Send(Side::Server, noise(100, 1)),
        Step::Send(Side::Client, noise(100, 2)),
        Step::KeyUpdate(Side::Client),
        Step::Send(Side::Client, noise(5000, 3)),
        Step::Close(Side::Client),
        Step::Close(Side::Server),
    ]);
    (recording.secrets)
        .retain(|secret| !matches!(secret.label, Label::ClientHandshake | Label::ServerHandshake));
    let recording = anonymous(recording);
    let mut events = Vec::new();
    let mut session = Session::new(Limits::default(), false);
    for secret in &recording.secrets {
        session.offer(secret, &mut events);
    }
    for (side, bytes) in &recording.wire {
        session.bytes(*side, bytes.clone().into(), Time(1), &mut events);
        session.give_up(Time(2), &mut events);
    }
    let heard = Heard::from(&events);
    assert!(heard.plain == recording.plain, "plaintext differs");
}

/// What a key log is given, `first` pieces of the wire before the secrets: labels, sorted, and the recording's own secret of each.
fn exported(recording: &Recording, first: usize) -> Vec<(Label, Vec<u8>)> {
    let nameless = anonymous(recording.clone());
    let mut session = Session::new(Limits::default(), false);
    session.export_secrets();
    let mut events = Vec::new();
    let (before, after) = nameless.wire.split_at(first);
    for (side, bytes) in before {
        session.bytes(*side, bytes.clone().into(), Time(1), &mut events);
    }
    for secret in nameless.secrets.iter().chain(&nameless.secrets) {
        session.offer(secret, &mut events);
    }
    for (side, bytes) in after {
        session.bytes(*side, bytes.clone().into(), Time(2), &mut events);
    }
    session.close(Time(3), &mut events);
    let own = events.into_iter().filter_map(|event| match event {
        Event::Own(own) => Some((own.secret.label, own.secret.bytes.to_vec())),
        _ => None,
    });
    own.collect()
}

/// Of TLS 1.3, each of the four is told once, under the name that the key log of the program itself gives it.
#[test]
fn secrets_are_told_under_the_names_that_they_prove_to_have() {
    let tls13 = SUITES
        .into_iter()
        .filter(|suite| matches!(suite, rustls::SupportedCipherSuite::Tls13(_)));
    for suite in tls13 {
        let recording = Pair::new(suite).run(&talk());
        for first in [0, 1, recording.wire.len()] {
            let told = exported(&recording, first);
            assert_eq!(told.len(), 4, "{suite:?}, {first}");
            for (label, bytes) in told {
                let of_that_name = |secret: &&qtap_tls::Secret| secret.label == label;
                let truth = recording.secrets.iter().find(of_that_name).unwrap();
                assert!(*truth.bytes == bytes, "{suite:?}, {first}: not {label:?}");
            }
        }
    }
}

/// The server's handshake is all that passed: its other secret, and those of the client, protect nothing that was seen.
#[test]
fn what_opened_nothing_keeps_no_name() {
    let mut recording = Pair::new(cipher_suite::TLS13_AES_128_GCM_SHA256).run(&talk());
    let server_flight = recording.wire.iter().position(|(side, _)| *side == Side::Server);
    recording.wire.truncate(server_flight.unwrap() + 1);
    let labels: Vec<Label> = (exported(&recording, 0).into_iter())
        .map(|(label, _)| label)
        .collect();
    assert_eq!(labels, [Label::ServerHandshake]);
}
