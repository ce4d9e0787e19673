//! Sessions whose handshake nobody saw, joined by secrets that were found without their connection.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::LazyLock;

use bytes::Bytes;
use common::{Heard, Pair, Recording, Step, noise, talk};
use proptest::prelude::*;
use qtap_tls::{Event, FoundSecret, FoundSecrets, Joined, Label, Limits, Session, Side, Time, Unreadable};
use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite;
use zeroize::Zeroizing;

const SUITES: [(SupportedCipherSuite, u16); 3] = [
    (cipher_suite::TLS13_AES_128_GCM_SHA256, 0x1301),
    (cipher_suite::TLS13_AES_256_GCM_SHA384, 0x1302),
    (cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, 0x1303),
];

/// Both application secrets of a recording, in one group, as they lie in memory.
fn own(recording: &Recording, group: u32) -> Vec<FoundSecret> {
    let is_application = |label| matches!(label, Label::ClientApplication | Label::ServerApplication);
    (recording.secrets.iter())
        .filter(|secret| is_application(secret.label))
        .map(|secret| FoundSecret::new(secret.bytes.clone(), group))
        .collect()
}

fn decoys(count: u64, length: usize) -> Vec<FoundSecret> {
    (0..count)
        .map(|seed| FoundSecret::new(Zeroizing::new(noise(length, 900 + seed)), 100 + seed as u32))
        .collect()
}

/// What was sent in the order of time, and how many pieces of it are the handshake and what came before the capture.
fn conversation(suite: SupportedCipherSuite, before: usize) -> (Recording, usize) {
    let mut script = vec![Step::Send(Side::Client, b"GET /old HTTP/1.1\r\n\r\n".to_vec())];
    for round in 0..before {
        script.push(Step::Send(Side::Server, noise(100 + round, round as u64)));
    }
    let pair = Pair::new(suite);
    let skipped = pair.run(&script).wire.len();
    script.extend(talk());
    let mut recording = pair.run(&script);
    let old: usize = b"GET /old HTTP/1.1\r\n\r\n".len();
    recording.plain[0].drain(..old);
    let old: usize = (0..before).map(|round| 100 + round).sum();
    recording.plain[1].drain(..old);
    (recording, skipped)
}

/// With less work than by default, as tests are not optimised.
fn midstream() -> Session {
    let limits = Limits {
        found_work: 6 << 20,
        ..Limits::default()
    };
    let mut session = Session::new(limits, true);
    session.await_found();
    session
}

fn feed(session: &mut Session, wire: &[(Side, Vec<u8>)], events: &mut Vec<Event>) {
    for (at, (side, bytes)) in wire.iter().enumerate() {
        session.bytes(*side, Bytes::copy_from_slice(bytes), Time(at as u64), events);
    }
}

/// Tries until there is nothing left to try; tells how it ended, and how often it was tried.
fn join(session: &mut Session, found: &FoundSecrets, events: &mut Vec<Event>) -> (Joined, usize) {
    for tries in 1..1000 {
        match session.join(found, Time(9), events) {
            Joined::Unfinished => {}
            joined => return (joined, tries),
        }
    }
    (Joined::Unfinished, 1000)
}

#[test]
fn every_suite_is_read_from_the_middle_on() {
    for (suite, id) in SUITES {
        let (recording, skipped) = conversation(suite, 30);
        for is_early in [true, false] {
            let mut secrets = decoys(20, recording.secrets[0].bytes.len());
            secrets.extend(own(&recording, 7));
            let found = FoundSecrets { id: 1, secrets };
            let mut session = midstream();
            let mut events = Vec::new();
            let wire = &recording.wire[skipped..];
            // The secrets come behind the first record, or behind all of them.
            let first = if is_early { 1 } else { wire.len() };
            feed(&mut session, &wire[..first], &mut events);
            assert!(session.wants_found() && session.is_waiting());
            assert!(events.is_empty());
            join(&mut session, &found, &mut events);
            for piece in &wire[first..] {
                feed(&mut session, std::slice::from_ref(piece), &mut events);
                join(&mut session, &found, &mut events);
            }
            let heard = Heard::from(&events);
            assert!(heard.plain == recording.plain, "{id:#x}: plaintext differs");
            let expected = Heard {
                plain: recording.plain.clone(),
                bound: [1, 1],
                closed: [1, 1],
                joined: vec![(0x0304, id)],
                ..Heard::default()
            };
            assert_eq!(heard, expected, "{id:#x}");
            assert!(session.is_settled() && !session.is_waiting() && !session.awaits_found());
        }
    }
}

#[test]
fn a_key_update_after_it_is_followed() {
    for (suite, _) in SUITES {
        let pair = Pair::new(suite);
        let mut script = vec![Step::Send(Side::Client, b"GET /old HTTP/1.1\r\n\r\n".to_vec())];
        let skipped = pair.run(&script).wire.len();
        script.extend([
            Step::Send(Side::Server, noise(50, 1)),
            Step::KeyUpdate(Side::Server),
            Step::Send(Side::Server, noise(60, 2)),
            Step::Send(Side::Client, noise(70, 3)),
        ]);
        let recording = pair.run(&script);
        let found = FoundSecrets {
            id: 1,
            secrets: own(&recording, 1),
        };
        let (mut session, mut events) = (midstream(), Vec::new());
        feed(&mut session, &recording.wire[skipped..], &mut events);
        assert_eq!(join(&mut session, &found, &mut events).0, Joined::Yes);
        let heard = Heard::from(&events);
        assert!(heard.plain[1] == recording.plain[1]);
        assert!(recording.plain[0].ends_with(&heard.plain[0]) && heard.plain[0].len() == 70);
    }
}

/// The capture begins inside of a record.
#[test]
fn it_begins_with_the_first_whole_record() {
    for (suite, id) in SUITES {
        let (recording, skipped) = conversation(suite, 3);
        let mut wire = recording.wire[skipped..].to_vec();
        let server = wire.iter_mut().find(|(side, _)| *side == Side::Server).unwrap();
        // The first of several records that carry 40,000 bytes.
        let lost = server.1.drain(..1000).len();
        let found = FoundSecrets {
            id: 1,
            secrets: own(&recording, 1),
        };
        let (mut session, mut events) = (midstream(), Vec::new());
        feed(&mut session, &wire, &mut events);
        join(&mut session, &found, &mut events);
        let heard = Heard::from(&events);
        assert!(heard.plain[0] == recording.plain[0], "{id:#x}");
        assert!(!heard.plain[1].is_empty() && recording.plain[1].ends_with(&heard.plain[1]));
        assert!(
            heard.plain[1].len() + (16 << 10) + lost >= recording.plain[1].len(),
            "{id:#x}"
        );
    }
}

#[test]
fn wrong_secrets_open_nothing_and_another_search_may_bring_the_right_ones() {
    for (suite, _) in SUITES {
        let (recording, skipped) = conversation(suite, 2);
        let wrong = FoundSecrets {
            id: 1,
            secrets: decoys(4, recording.secrets[0].bytes.len()),
        };
        let (mut session, mut events) = (midstream(), Vec::new());
        feed(&mut session, &recording.wire[skipped..], &mut events);
        let (joined, tries) = join(&mut session, &wrong, &mut events);
        assert_eq!((joined, events.len()), (Joined::No, 0));
        assert!(session.is_waiting() && !session.is_joined());
        // ChaCha20 tells no numbers: its trials end at the bound on work, in more than one go. Secrets of 48 bytes are of AES-256 only.
        assert_eq!(session.was_cut(), suite != cipher_suite::TLS13_AES_256_GCM_SHA384);
        assert_eq!(tries > 1, session.was_cut());
        let right = FoundSecrets {
            id: 2,
            secrets: own(&recording, 1),
        };
        assert_eq!(join(&mut session, &right, &mut events).0, Joined::Yes);
        assert!(Heard::from(&events).plain == recording.plain);
    }
}

#[test]
fn when_none_is_found_it_says_that_the_handshake_is_missing() {
    let (recording, skipped) = conversation(cipher_suite::TLS13_AES_128_GCM_SHA256, 2);
    let (mut session, mut events) = (midstream(), Vec::new());
    feed(&mut session, &recording.wire[skipped..], &mut events);
    session.give_up_found(Time(5), &mut events);
    assert_eq!(Heard::from(&events).unreadable, [Unreadable::NoHandshake]);
    assert!(!session.awaits_found() && !session.is_waiting() && session.buffered() == 0);
    // Nor does it wait any more.
    feed(&mut session, &recording.wire[skipped..], &mut events);
    assert_eq!(events.len(), 1);
}

#[test]
fn one_direction_is_read_without_the_other() {
    let (recording, skipped) = conversation(cipher_suite::TLS13_AES_256_GCM_SHA384, 2);
    let mut secrets = own(&recording, 1);
    secrets.truncate(1);
    let is_client = recording
        .secrets
        .iter()
        .position(|secret| secret.label == Label::ClientApplication)
        < recording
            .secrets
            .iter()
            .position(|secret| secret.label == Label::ServerApplication);
    let (readable, other) = if is_client { (0, 1) } else { (1, 0) };
    let found = FoundSecrets { id: 1, secrets };
    let (mut session, mut events) = (midstream(), Vec::new());
    feed(&mut session, &recording.wire[skipped..], &mut events);
    assert_eq!(join(&mut session, &found, &mut events).0, Joined::No);
    assert!(session.is_joined() && session.wants_found());
    session.give_up_found(Time(5), &mut events);
    let heard = Heard::from(&events);
    assert!(heard.plain[readable] == recording.plain[readable]);
    assert!(heard.plain[other].is_empty() && !heard.gaps[other].is_empty() && heard.unreadable.is_empty());
    assert!(!session.is_waiting());
}

#[test]
fn what_waits_is_bounded() {
    let limits = Limits {
        waiting_bytes: 100_000,
        ..Limits::default()
    };
    let mut session = Session::new(limits, true);
    session.await_found();
    let mut events = Vec::new();
    let mut record = vec![23, 3, 3, 0x10, 0];
    record.extend(noise(0x1000, 4));
    for _ in 0..200 {
        session.bytes(
            Side::Server,
            Bytes::copy_from_slice(&record),
            Time(1),
            &mut events,
        );
        assert!(session.buffered() <= limits.waiting_bytes + (32 << 10));
    }
}

#[test]
fn a_hello_after_all_is_read_as_one() {
    let recording = Pair::new(cipher_suite::TLS13_AES_128_GCM_SHA256).run(&talk());
    let (mut session, mut events) = (midstream(), Vec::new());
    for secret in &recording.secrets {
        session.offer(secret, &mut events);
    }
    feed(&mut session, &recording.wire, &mut events);
    assert!(Heard::from(&events).plain == recording.plain);
}

/// Of each suite.
static CONVERSATIONS: LazyLock<Vec<(Recording, usize)>> =
    LazyLock::new(|| SUITES.iter().map(|(suite, _)| conversation(*suite, 5)).collect());

proptest! {
    /// However the bytes are cut, and wherever the capture begins: what is read is the end of what was sent.
    #[test]
    fn any_start_and_any_cut_give_the_rest_of_what_was_sent(
        which in 0_usize..3,
        start in 0_usize..60_000,
        sizes in proptest::collection::vec(1_usize..20_000, 1..8),
        every in 1_usize..4,
    ) {
        let (recording, skipped) = &CONVERSATIONS[which];
        let found = FoundSecrets { id: 1, secrets: own(recording, 1) };
        let (mut session, mut events) = (midstream(), Vec::new());
        let mut sizes = sizes.iter().cycle();
        let (mut passed, mut pieces) = (0, 0);
        for (side, bytes) in &recording.wire[*skipped..] {
            let from = start.saturating_sub(passed).min(bytes.len());
            passed += bytes.len();
            let mut rest = Bytes::copy_from_slice(&bytes[from..]);
            while !rest.is_empty() {
                let size = (*sizes.next().unwrap()).min(rest.len());
                session.bytes(*side, rest.split_to(size), Time(pieces as u64), &mut events);
                pieces += 1;
                if pieces % every == 0 {
                    join(&mut session, &found, &mut events);
                }
            }
        }
        join(&mut session, &found, &mut events);
        session.close(Time(9), &mut events);
        let heard = Heard::from(&events);
        for side in 0..2 {
            prop_assert!(
                recording.plain[side].ends_with(&heard.plain[side]),
                "side {side}: {} of {} bytes, gaps {:?}",
                heard.plain[side].len(),
                recording.plain[side].len(),
                heard.gaps[side]
            );
        }
        if start == 0 {
            prop_assert!(heard.plain == recording.plain);
        }
    }

    /// Nothing is made up from bytes that are none of TLS.
    #[test]
    fn random_bytes_open_under_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        length in 17_u16..600,
    ) {
        let found = FoundSecrets { id: 1, secrets: [decoys(3, 32), decoys(3, 48)].concat_all() };
        let (mut session, mut events) = (midstream(), Vec::new());
        let mut wire = vec![23, 3, 3];
        wire.extend(length.to_be_bytes());
        wire.extend(&bytes);
        session.bytes(Side::Client, Bytes::from(wire), Time(1), &mut events);
        // Some of the numbers that ChaCha20 may have.
        session.join(&found, Time(2), &mut events);
        prop_assert!(events.is_empty());
    }
}

trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T, const N: usize> ConcatAll<T> for [Vec<T>; N] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}

/// Requests and answers that waited are told in the order in which they were made.
#[test]
fn what_waited_keeps_its_times() {
    let pair = Pair::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let mut script = vec![Step::Send(Side::Client, b"GET /old HTTP/1.1\r\n\r\n".to_vec())];
    let skipped = pair.run(&script).wire.len();
    for number in 0..20 {
        script.push(Step::Send(Side::Client, vec![number; 20]));
        script.push(Step::Send(Side::Server, vec![number; 30]));
    }
    let recording = pair.run(&script);
    let found = FoundSecrets {
        id: 1,
        secrets: own(&recording, 1),
    };
    let (mut session, mut events) = (midstream(), Vec::new());
    feed(&mut session, &recording.wire[skipped..], &mut events);
    assert_eq!(join(&mut session, &found, &mut events).0, Joined::Yes);
    let mut told: Vec<_> = (events.iter())
        .filter_map(|event| match event {
            Event::Plaintext { side, data, time } => Some((*time, side.index(), data[0])),
            _ => None,
        })
        .collect();
    told.sort();
    let order: Vec<_> = told.iter().map(|&(_, side, number)| (number, side)).collect();
    let expected: Vec<_> = (0..20).flat_map(|number| [(number, 0), (number, 1)]).collect();
    assert_eq!(order, expected);
}

/// What does not open is passed over: in front of what does there may be records of others, or damaged ones.
#[test]
fn records_that_do_not_open_are_passed_over() {
    for (suite, id) in SUITES {
        let (recording, skipped) = conversation(suite, 2);
        let found = FoundSecrets {
            id: 1,
            secrets: own(&recording, 1),
        };
        let (mut session, mut events) = (midstream(), Vec::new());
        for side in [Side::Client, Side::Server] {
            let mut record = vec![23, 3, 3, 0, 60];
            record.extend(noise(60, 5));
            session.bytes(side, Bytes::from(record), Time(0), &mut events);
        }
        feed(&mut session, &recording.wire[skipped..], &mut events);
        join(&mut session, &found, &mut events);
        let heard = Heard::from(&events);
        assert!(heard.plain == recording.plain, "{id:#x}");
        assert!(!session.was_cut());
    }
}

/// Its library was probed too late: the hellos are seen, and no secret.
#[test]
fn a_session_whose_secrets_were_missed_is_read_whole() {
    for (suite, id) in SUITES {
        let recording = Pair::new(suite).run(&talk());
        let found = FoundSecrets {
            id: 1,
            secrets: own(&recording, 1),
        };
        // From when on it is sought.
        for first in [recording.wire.len() / 2, recording.wire.len()] {
            let mut session = Session::new(Limits::default(), false);
            let mut events = Vec::new();
            feed(&mut session, &recording.wire[..first], &mut events);
            assert!(session.seek_found(Time(50)) && session.wants_found());
            join(&mut session, &found, &mut events);
            for piece in &recording.wire[first..] {
                feed(&mut session, std::slice::from_ref(piece), &mut events);
                join(&mut session, &found, &mut events);
            }
            let heard = Heard::from(&events);
            assert!(heard.plain == recording.plain, "{id:#x}");
            assert_eq!((heard.client_hellos, heard.server_hellos), (1, 1));
            assert!(heard.gaps.iter().all(Vec::is_empty) && session.is_settled());
        }
    }
}

/// The same, and they are not found, but come in the ordinary way after all.
#[test]
fn secrets_that_come_late_are_taken_after_a_search_in_vain() {
    for (suite, id) in SUITES {
        let recording = Pair::new(suite).run(&talk());
        let wrong = FoundSecrets {
            id: 1,
            secrets: decoys(5, recording.secrets[0].bytes.len()),
        };
        let (mut session, mut events) = (Session::new(Limits::default(), false), Vec::new());
        feed(&mut session, &recording.wire, &mut events);
        assert!(session.seek_found(Time(50)));
        assert_eq!(join(&mut session, &wrong, &mut events).0, Joined::No);
        session.give_up_found(Time(51), &mut events);
        assert!(!session.awaits_found() && session.is_waiting());
        for secret in &recording.secrets {
            session.offer(secret, &mut events);
        }
        assert!(Heard::from(&events).plain == recording.plain, "{id:#x}");
    }
}
