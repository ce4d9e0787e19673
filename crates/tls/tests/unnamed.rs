//! Secrets that nobody could name: what opens under them tells which they are.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Heard, Pair, Recording, SUITES, Step, hear, noise, talk};
use qtap_tls::{Label, Side};
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
    let mut session = qtap_tls::Session::new(qtap_tls::Limits::default(), false);
    for secret in &recording.secrets {
        session.offer(secret, &mut events);
    }
    for (side, bytes) in &recording.wire {
        session.bytes(*side, bytes.clone().into(), qtap_tls::Time(1), &mut events);
        session.give_up(qtap_tls::Time(2), &mut events);
    }
    let heard = Heard::from(&events);
    assert!(heard.plain == recording.plain, "plaintext differs");
}
