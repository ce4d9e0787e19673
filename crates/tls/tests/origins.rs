//! Where secrets come from, and what becomes of them: how an inferred function proves itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Pair, Recording, SUITES, talk};
use qtap_tls::{Failure, Label, Limits, Secret, Session, Time};
use zeroize::Zeroizing;

const ORIGIN: u64 = 0x1234;

/// What the function tells: the secrets of a recording, or others of the same kind, with or without the client random.
fn told(recording: &Recording, right: bool, with_random: bool) -> Vec<Secret> {
    let secrets = recording.secrets.iter().map(|secret| Secret {
        bytes: if right {
            secret.bytes.clone()
        } else {
            Zeroizing::new(vec![7; secret.bytes.len()])
        },
        client_random: secret.client_random.filter(|_| with_random),
        origin: Some(ORIGIN),
        ..secret.clone()
    });
    secrets.collect()
}

/// A session of the recording, its secrets told first. `lost`: the piece of that number is missing.
fn session(recording: &Recording, secrets: &[Secret], lost: Option<usize>) -> Session {
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    for secret in secrets {
        session.offer(secret, &mut events);
    }
    for (number, (side, bytes)) in recording.wire.iter().enumerate() {
        if lost == Some(number) {
            session.gap(*side, bytes.len() as u64, Time(1), &mut events);
        } else {
            session.bytes(*side, bytes.clone().into(), Time(1), &mut events);
        }
    }
    session
}

#[test]
fn a_right_secret_proves_its_origin_once_and_nothing_fails() {
    for suite in SUITES {
        let recording = Pair::new(suite).run(&talk());
        let mut session = session(&recording, &told(&recording, true, false), None);
        assert_eq!(session.failures(), [], "{suite:?}");
        assert_eq!(session.take_proven(), Some(ORIGIN), "{suite:?}");
        assert_eq!(session.take_proven(), None, "{suite:?}");
    }
}

#[test]
fn a_wrong_secret_fails_with_what_is_known_of_whose_it_is() {
    for suite in SUITES {
        let recording = Pair::new(suite).run(&talk());
        for is_certain in [false, true] {
            let mut session = session(&recording, &told(&recording, false, is_certain), None);
            let failures = session.failures();
            let labels: Vec<Label> = failures.iter().map(|failure| failure.label).collect();
            let expected: &[Label] = if recording
                .secrets
                .iter()
                .any(|secret| secret.label == Label::Master)
            {
                &[Label::Master, Label::Master]
            } else {
                &[Label::ClientHandshake, Label::ServerHandshake]
            };
            assert_eq!(labels, expected, "{suite:?}");
            let is_it = |failure: &Failure| failure.origin == ORIGIN && failure.is_certain == is_certain;
            assert!(failures.iter().all(is_it), "{failures:?}");
            assert_eq!(session.take_proven(), None);
        }
    }
}

/// "Robust to a mere loss": of whatever piece, a wrong secret or a right one.
#[test]
fn nothing_fails_where_anything_was_lost() {
    let recording = Pair::new(SUITES[0]).run(&talk());
    for lost in 0..recording.wire.len() {
        for right in [false, true] {
            let mut session = session(&recording, &told(&recording, right, true), Some(lost));
            assert_eq!(session.failures(), [], "without piece {lost}");
        }
    }
}

#[test]
fn the_secret_that_is_missing_fails_nobody() {
    let recording = Pair::new(SUITES[0]).run(&talk());
    let mut secrets = told(&recording, false, true);
    secrets.retain(|secret| matches!(secret.label, Label::ClientApplication | Label::ServerApplication));
    assert_eq!(session(&recording, &secrets, None).failures(), []);
}

#[test]
fn secrets_of_functions_that_have_names_are_not_judged() {
    let recording = Pair::new(SUITES[0]).run(&talk());
    let mut secrets = told(&recording, false, true);
    secrets.iter_mut().for_each(|secret| secret.origin = None);
    assert_eq!(session(&recording, &secrets, None).failures(), []);
}
