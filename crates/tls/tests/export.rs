//! Secrets that a key log is made of, from real handshakes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Pair, Recording, SUITES, talk};
use qtap_tls::{Event, Label, Limits, OwnSecret, Secret, Session, Side, Time};
use rustls::crypto::ring::cipher_suite;

/// Bytes first, then the secrets, then the bytes that are left; what was told as own.
fn exported(recording: &Recording, secrets: &[Secret], first: usize) -> (Session, Vec<OwnSecret>) {
    let mut session = Session::new(Limits::default(), false);
    session.export_secrets();
    let mut events = Vec::new();
    let mut wire = recording.wire.iter().cloned();
    for (side, bytes) in wire.by_ref().take(first) {
        session.bytes(side, bytes.into(), Time(1), &mut events);
    }
    for secret in secrets {
        session.offer(secret, &mut events);
    }
    for (side, bytes) in wire {
        session.bytes(side, bytes.into(), Time(2), &mut events);
    }
    session.close(Time(3), &mut events);
    let own = events.into_iter().filter_map(|event| match event {
        Event::Own(own) => Some(*own),
        _ => None,
    });
    (session, own.collect())
}

fn labels(own: &[OwnSecret]) -> Vec<&'static str> {
    let mut labels: Vec<_> = own.iter().map(|own| own.secret.label.name()).collect();
    labels.sort_unstable();
    labels
}

/// The random of the ClientHello: it begins the first record, after 5 bytes of header, 4 of the message's and 2 of version.
fn client_random(recording: &Recording) -> [u8; 32] {
    recording.wire[0].1[11..43].try_into().unwrap()
}

fn without_randoms(recording: &Recording) -> Vec<Secret> {
    let secrets = recording.secrets.iter().cloned();
    let without = secrets.map(|secret| Secret {
        client_random: None,
        ..secret
    });
    without.collect()
}

#[test]
fn each_secret_of_a_connection_is_told_once_under_its_client_random() {
    for suite in SUITES {
        let recording = Pair::new(suite).run(&talk());
        let expected = if recording
            .secrets
            .iter()
            .any(|secret| secret.label == Label::Master)
        {
            vec!["CLIENT_RANDOM"]
        } else {
            vec![
                "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
                "CLIENT_TRAFFIC_SECRET_0",
                "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                "SERVER_TRAFFIC_SECRET_0",
            ]
        };
        for secrets in [recording.secrets.clone(), without_randoms(&recording)] {
            for first in [0, 1, recording.wire.len()] {
                // Each is offered twice, as the pool does.
                let twice = [secrets.clone(), secrets.clone()].concat();
                let (session, own) = exported(&recording, &twice, first);
                assert_eq!(labels(&own), expected, "{suite:?}, {first}");
                assert!(
                    own.iter()
                        .all(|own| own.client_random == client_random(&recording))
                );
                let is_offered =
                    |own: &OwnSecret| secrets.iter().any(|secret| secret.bytes == own.secret.bytes);
                assert!(own.iter().all(is_offered));
                assert!(session.has_exported());
            }
        }
    }
}

#[test]
fn a_secret_of_another_connection_is_never_told() {
    for suite in SUITES {
        let (recording, other) = (Pair::new(suite).run(&talk()), Pair::new(suite).run(&talk()));
        for secrets in [other.secrets.clone(), without_randoms(&other)] {
            let (session, own) = exported(&recording, &secrets, 1);
            assert_eq!(own, [], "{suite:?}");
            assert!(!session.has_exported());
        }
    }
}

/// A key log names secrets by the random of the connection at hand, whichever handshake the master secret is from.
#[test]
fn a_resumed_session_of_tls_12_is_told_under_its_own_random() {
    let suites = SUITES
        .into_iter()
        .filter(|suite| Pair::new(*suite).run(&talk()).secrets.len() == 1);
    for suite in suites {
        let pair = Pair::new(suite);
        let (first, resumed) = (pair.run(&talk()), pair.run(&talk()));
        let (_, own) = exported(&resumed, &first.secrets, 1);
        assert_eq!(labels(&own), ["CLIENT_RANDOM"], "{suite:?}");
        assert_eq!(own[0].client_random, client_random(&resumed));
        assert_ne!(own[0].client_random, client_random(&first));
    }
}

#[test]
fn nothing_is_told_unless_asked_for() {
    let recording = Pair::new(SUITES[0]).run(&talk());
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    for secret in &recording.secrets {
        session.offer(secret, &mut events);
    }
    for (side, bytes) in recording.wire {
        session.bytes(side, bytes.into(), Time(1), &mut events);
    }
    assert!(!events.iter().any(|event| matches!(event, Event::Own(_))));
}

#[test]
fn every_byte_of_a_connection_that_is_read_whole_counts_as_read() {
    for suite in SUITES {
        let recording = Pair::new(suite).run(&talk());
        let on_the_wire: usize = recording.wire.iter().map(|(_, bytes)| bytes.len()).sum();
        let (session, _) = exported(&recording, &recording.secrets, 0);
        assert_eq!(session.read_bytes(), on_the_wire as u64, "{suite:?}");
        let (unread, _) = exported(&recording, &[], 0);
        assert!(
            unread.read_bytes() > 0 && unread.read_bytes() < on_the_wire as u64 / 2,
            "{suite:?}"
        );
    }
}

/// No record can prove it, so only the client random does.
#[test]
fn a_suite_that_cannot_be_opened_is_told_by_the_client_random_alone() {
    let mut recording = Pair::new(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256).run(&talk());
    let first = recording.wire.iter_mut().find(|(side, _)| *side == Side::Server);
    let hello = &mut first.unwrap().1;
    // Header 5, message 4, version 2, random 32, the session id behind its length.
    let at = 44 + usize::from(hello[43]);
    assert_eq!(hello[at..at + 2], [0xc0, 0x2b]);
    // TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA.
    hello[at..at + 2].copy_from_slice(&[0xc0, 0x09]);
    let all = recording.wire.len();
    for first in [0, all] {
        let (session, own) = exported(&recording, &recording.secrets, first);
        assert_eq!(labels(&own), ["CLIENT_RANDOM"], "{first}");
        assert!(session.has_exported() && !session.seeks_export());
        let (session, own) = exported(&recording, &without_randoms(&recording), first);
        assert_eq!(own, [], "{first}");
        assert!(!session.has_exported() && session.seeks_export());
    }
}
