//! Handshakes of every kind, from a real client and a real server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use bytes::Bytes;
use common::{Heard, KeyLog, Pair, Recording, SUITES, Step, hear, noise, talk};
use qtap_tls::{Event, GapReason, Label, Limits, Session, Side, Time, Unreadable};
use rustls::crypto::ring::cipher_suite;

fn tls13() -> Pair {
    Pair::new(cipher_suite::TLS13_AES_128_GCM_SHA256)
}

fn assert_whole(recording: &Recording, heard: &Heard) {
    assert_eq!(heard.unreadable, []);
    assert_eq!(heard.gaps, [[], []]);
    assert!(heard.plain == recording.plain, "plaintext differs");
    assert_eq!(heard.bound, [1, 1]);
    assert_eq!(heard.closed, [1, 1]);
}

#[test]
fn every_suite_is_read_whole() {
    for suite in SUITES {
        let recording = Pair::new(suite).run(&talk());
        let (session, heard) = hear(&recording);
        assert_whole(&recording, &heard);
        assert!(session.is_bound() && !session.is_waiting(), "{suite:?}");
        assert_eq!(session.buffered(), 0, "{suite:?}");
    }
}

#[test]
fn hellos_tell_name_alpn_version_and_suite() {
    let mut events = Vec::new();
    let mut session = Session::new(Limits::default(), false);
    let recording = tls13().run(&talk());
    for secret in &recording.secrets {
        assert!(session.offer(secret, &mut events) || session.buffered() == 0);
    }
    for (side, bytes) in recording.wire {
        session.bytes(side, bytes.into(), Time(5), &mut events);
    }
    let Event::ClientHello(client, Time(5)) = &events[0] else {
        panic!("{:?}", events[0]);
    };
    assert_eq!(client.sni.as_deref(), Some("example.test"));
    assert_eq!(client.alpn, ["h2", "http/1.1"]);
    let Event::ServerHello(server, _) = &events[1] else {
        panic!("{:?}", events[1]);
    };
    assert_eq!(
        (server.version, server.cipher_suite, server.retry),
        (0x0304, 0x1301, false)
    );
    assert_eq!(Heard::from(&events).alpn, ["http/1.1"]);
}

#[test]
fn tls12_server_hello_tells_alpn_in_the_clear() {
    let pair = Pair::new(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    let recording = pair.run(&talk());
    let mut events = Vec::new();
    let mut session = Session::new(Limits::default(), false);
    for (side, bytes) in recording.wire {
        session.bytes(side, bytes.into(), Time(5), &mut events);
    }
    let server = events.iter().find_map(|event| match event {
        Event::ServerHello(hello, _) => Some(hello),
        _ => None,
    });
    let server = server.unwrap();
    assert_eq!(server.alpn.as_deref(), Some("http/1.1"));
    assert!(server.extended_master_secret);
    assert!(session.is_waiting());
}

#[test]
fn hello_retry_request_is_followed() {
    let recording = tls13().with_retry().run(&talk());
    let (_, heard) = hear(&recording);
    assert_whole(&recording, &heard);
    assert_eq!((heard.client_hellos, heard.server_hellos), (2, 2));
}

#[test]
fn resumption_is_read_in_both_versions() {
    for suite in SUITES {
        let pair = Pair::new(suite);
        pair.run(&talk());
        let resumed = pair.run(&talk());
        let (_, heard) = hear(&resumed);
        assert_whole(&resumed, &heard);
    }
}

fn early_talk() -> Vec<Step> {
    let mut script = vec![Step::Early(noise(3000, 9))];
    script.extend(talk());
    script
}

fn early_pair() -> Pair {
    let mut pair = tls13();
    pair.client.enable_early_data = true;
    pair.server.max_early_data_size = 1 << 14;
    pair.run(&talk());
    pair
}

#[test]
fn accepted_early_data_is_read_in_any_order_of_secrets() {
    let recording = early_pair().run(&early_talk());
    assert!(recording.early_accepted);
    let (_, heard) = hear(&recording);
    assert_whole(&recording, &heard);
    // All secrets last, the early one last of all.
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    for (side, bytes) in &recording.wire {
        session.bytes(*side, Bytes::copy_from_slice(bytes), Time(1), &mut events);
    }
    for secret in recording.secrets.iter().rev() {
        session.offer(secret, &mut events);
    }
    assert_whole(&recording, &Heard::from(&events));
}

#[test]
fn refused_early_data_is_no_data() {
    let mut pair = early_pair();
    pair.server.max_early_data_size = 0;
    let refused = pair.run(&early_talk());
    let refused_by_retry = early_pair().with_retry().run(&early_talk());
    for recording in [refused, refused_by_retry] {
        assert!(!recording.early_accepted);
        let (_, heard) = hear(&recording);
        assert_whole(&recording, &heard);
        // Without its client random a secret can only be tried.
        let mut anonymous = recording.clone();
        for secret in &mut anonymous.secrets {
            secret.client_random = None;
        }
        let (_, heard) = hear(&anonymous);
        assert_whole(&recording, &heard);
    }
}

#[test]
fn key_updates_of_both_sides_are_followed() {
    for suite in &SUITES[..3] {
        let recording = Pair::new(*suite).run(&[
            Step::Send(Side::Client, noise(100, 1)),
            Step::KeyUpdate(Side::Client),
            Step::Send(Side::Client, noise(20_000, 2)),
            Step::Send(Side::Server, noise(20_000, 3)),
            Step::KeyUpdate(Side::Server),
            Step::KeyUpdate(Side::Server),
            Step::Send(Side::Server, noise(100, 4)),
            Step::Send(Side::Client, noise(100, 5)),
            Step::Close(Side::Client),
            Step::Close(Side::Server),
        ]);
        let (_, heard) = hear(&recording);
        assert_whole(&recording, &heard);
    }
}

#[test]
fn large_transfers_are_read_whole() {
    let mut script = talk();
    script.insert(1, Step::Send(Side::Server, noise(1 << 20, 7)));
    let recording = tls13().run(&script);
    let (_, heard) = hear(&recording);
    assert_whole(&recording, &heard);
}

#[test]
fn hellos_in_single_bytes_are_read() {
    let recording = tls13().run(&talk());
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    for (side, bytes) in recording.wire.iter().take(2) {
        for byte in bytes {
            session.bytes(*side, Bytes::copy_from_slice(&[*byte]), Time(1), &mut events);
        }
    }
    let heard = Heard::from(&events);
    assert_eq!((heard.client_hellos, heard.server_hellos), (1, 1));
}

/// P-D5: a ClientHello of 60 KiB, in records of 500 bytes.
#[test]
fn a_large_hello_over_many_records_is_read() {
    let mut body = vec![3, 3];
    body.extend([5; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    let padding = 60_000_u16;
    body.extend((padding + 4 + 9).to_be_bytes());
    body.extend(21_u16.to_be_bytes());
    body.extend(padding.to_be_bytes());
    body.extend(vec![0; usize::from(padding)]);
    body.extend(b"\x00\x00\x00\x05\x00\x03\x00\x00\x00");
    let mut message = vec![1];
    message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    message.extend(body);
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    for chunk in message.chunks(500) {
        let mut record = vec![22, 3, 1];
        record.extend(u16::try_from(chunk.len()).unwrap().to_be_bytes());
        record.extend(chunk);
        session.bytes(Side::Client, record.into(), Time(1), &mut events);
    }
    assert!(
        matches!(events.as_slice(), [Event::ClientHello(..)]),
        "{events:?}"
    );
}

#[test]
fn other_versions_and_suites_are_told_once() {
    let hello = |version: [u8; 2], suite: [u8; 2]| {
        let mut body = vec![version[0], version[1]];
        body.extend([5; 32]);
        body.extend([0, suite[0], suite[1], 0]);
        let mut record = vec![22, 3, 3, 0, 42, 2, 0, 0, 38];
        record.extend(body);
        Bytes::from(record)
    };
    for (bytes, reason) in [
        (hello([3, 3], [0xc0, 0x13]), Unreadable::CipherSuite(0xc013)),
        (hello([3, 3], [0xc0, 0x9d]), Unreadable::CipherSuite(0xc09d)),
        (hello([3, 1], [0xc0, 0x13]), Unreadable::Version(0x0301)),
    ] {
        let mut session = Session::new(Limits::default(), false);
        let mut events = Vec::new();
        session.bytes(Side::Server, bytes.clone(), Time(1), &mut events);
        session.bytes(Side::Server, bytes, Time(2), &mut events);
        session.gap(Side::Server, 5, Time(2), &mut events);
        assert_eq!(Heard::from(&events).unreadable, [reason]);
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(session.buffered(), 0);
    }
}

#[test]
fn midstream_is_told_and_a_late_hello_still_read() {
    let recording = tls13().run(&talk());
    let mut session = Session::new(Limits::default(), true);
    let mut events = Vec::new();
    let (side, bytes) = recording.wire.last().unwrap();
    session.bytes(*side, Bytes::copy_from_slice(bytes), Time(4), &mut events);
    assert_eq!(events, [Event::Unreadable(Unreadable::NoHandshake, Time(4))]);

    let mut session = Session::new(Limits::default(), true);
    let mut events = Vec::new();
    session.bytes(
        Side::Server,
        Bytes::from_static(b"220 ready\r\n"),
        Time(4),
        &mut events,
    );
    assert_eq!(events, [Event::Unreadable(Unreadable::NotTls, Time(4))]);

    let mut session = Session::new(Limits::default(), true);
    let mut events = Vec::new();
    for secret in &recording.secrets {
        session.offer(secret, &mut events);
    }
    for (side, bytes) in &recording.wire {
        for byte in bytes {
            session.bytes(*side, Bytes::copy_from_slice(&[*byte]), Time(4), &mut events);
        }
    }
    assert_whole(&recording, &Heard::from(&events));
}

#[test]
fn a_missing_handshake_secret_costs_no_data() {
    let recording = tls13().run(&talk());
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    for secret in &recording.secrets {
        if !matches!(secret.label, Label::ClientHandshake | Label::ServerHandshake) {
            session.offer(secret, &mut events);
        }
    }
    for (side, bytes) in &recording.wire {
        session.bytes(*side, Bytes::copy_from_slice(bytes), Time(1), &mut events);
    }
    assert!(session.is_waiting());
    session.give_up(Time(2), &mut events);
    assert_whole(&recording, &Heard::from(&events));
    assert!(!session.is_waiting());
}

#[test]
fn a_secret_after_giving_up_reads_the_rest() {
    for suite in [
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ] {
        let recording = Pair::new(suite).run(&talk());
        let mut session = Session::new(Limits::default(), false);
        let mut events = Vec::new();
        let last = recording.wire.len() - 4;
        for (at, (side, bytes)) in recording.wire.iter().enumerate() {
            if at == last {
                session.give_up(Time(2), &mut events);
                assert!(!session.is_waiting());
                for secret in &recording.secrets {
                    session.offer(secret, &mut events);
                }
            }
            session.bytes(*side, Bytes::copy_from_slice(bytes), Time(1), &mut events);
        }
        let heard = Heard::from(&events);
        assert_eq!(heard.plain[0], recording.plain[0][18..]);
        assert_eq!(heard.plain[1], recording.plain[1][40_000..]);
        for gaps in &heard.gaps {
            assert!(
                matches!(gaps.as_slice(), [(0, _, GapReason::NoSecret)]),
                "{gaps:?}"
            );
        }
        assert_eq!(heard.closed, [1, 1]);
    }
}

#[test]
fn waiting_ciphertext_over_the_limit_becomes_a_gap_and_a_late_secret_still_fits() {
    let limits = Limits {
        waiting_bytes: 20_000,
        ..Limits::default()
    };
    for suite in SUITES {
        let mut script = talk();
        script.insert(2, Step::Send(Side::Server, noise(200_000, 6)));
        let recording = Pair::new(suite).run(&script);
        let mut session = Session::new(limits, false);
        let mut events = Vec::new();
        for (side, bytes) in &recording.wire {
            session.bytes(*side, Bytes::copy_from_slice(bytes), Time(1), &mut events);
            assert!(
                session.buffered() <= limits.waiting_bytes + 64,
                "{}",
                session.buffered()
            );
        }
        for secret in &recording.secrets {
            session.offer(secret, &mut events);
        }
        let heard = Heard::from(&events);
        let truth = &recording.plain[1];
        assert!(
            !heard.plain[1].is_empty() && truth.ends_with(&heard.plain[1]),
            "{suite:?}"
        );
        let &[(0, length, GapReason::NoSecret)] = heard.gaps[1].as_slice() else {
            panic!("{:?}", heard.gaps);
        };
        let missing = (truth.len() - heard.plain[1].len()) as u64;
        assert!(length >= missing && length < missing + 4000, "{length} {missing}");
        assert_eq!(heard.closed[1], 1);
    }
}

#[test]
fn secrets_are_not_shown() {
    let recording = tls13().run(&talk());
    let (session, _) = hear(&recording);
    let shown = format!("{session:?} {:?}", recording.secrets[0]);
    assert!(
        shown.contains("length: 32") && !shown.contains("bytes"),
        "{shown}"
    );
    let _ = KeyLog::default();
}
