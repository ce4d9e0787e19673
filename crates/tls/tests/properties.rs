//! Properties: P-M5 (any split, any gap, any bytes), and secrets in any order.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;
#[path = "../fuzz/session.rs"]
mod fuzz;

use std::sync::LazyLock;

use bytes::Bytes;
use common::{Heard, Pair, Recording, SUITES, Step, hear, noise, talk};
use proptest::prelude::*;
use qtap_tls::{Event, GapReason, Limits, Secret, Session, Side, Time};

/// One conversation per suite, with a key update where there is one, and small and large records.
static RECORDINGS: LazyLock<Vec<Recording>> = LazyLock::new(|| {
    SUITES
        .iter()
        .enumerate()
        .map(|(at, suite)| {
            let mut script = talk();
            for (index, size) in [1, 200, 17_000, 90_000, 3].into_iter().enumerate() {
                script.insert(1, Step::Send(Side::Server, noise(size, 40 + index as u64)));
                script.insert(1, Step::Send(Side::Client, noise(size / 3, 50 + index as u64)));
            }
            if at < 3 {
                script.insert(7, Step::KeyUpdate(Side::Server));
            }
            Pair::new(*suite).run(&script)
        })
        .collect()
});

/// Secrets of other connections.
static DECOYS: LazyLock<Vec<Secret>> = LazyLock::new(|| {
    let mut decoys: Vec<Secret> = SUITES
        .iter()
        .flat_map(|suite| Pair::new(*suite).run(&talk()).secrets)
        .collect();
    for decoy in &mut decoys {
        decoy.client_random = None;
    }
    decoys
});

/// Cuts the wire into pieces whose lengths come round from `sizes`.
fn pieces(recording: &Recording, sizes: &[usize]) -> Vec<(Side, Bytes)> {
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    for (side, bytes) in &recording.wire {
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            let size = (*sizes.next().unwrap()).clamp(1, rest.len());
            pieces.push((*side, rest.split_to(size)));
        }
    }
    pieces
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        proptest::collection::vec(1_usize..40, 1..20),
        proptest::collection::vec(1_usize..40_000, 1..20),
        Just(vec![5, 60_000]),
    ]
}

/// Checks that what was heard of `side` is the truth with honest gaps, and returns how much is missing.
fn assert_honest(truth: &[u8], events: &[Event], side: Side) -> usize {
    let mut runs: Vec<(u64, Vec<u8>)> = vec![(0, Vec::new())];
    for event in events {
        match event {
            Event::Plaintext { side: of, data, .. } if *of == side => {
                runs.last_mut().unwrap().1.extend_from_slice(data)
            }
            Event::Gap { side: of, length, .. } if *of == side => runs.push((*length, Vec::new())),
            _ => {}
        }
    }
    let (mut at, mut slack) = (0, 0);
    for (gap, run) in &runs {
        slack += usize::try_from(*gap).unwrap();
        if run.is_empty() {
            continue;
        }
        let window = &truth[at..truth.len().min(at + slack + run.len())];
        let found =
            (0..=window.len().saturating_sub(run.len())).find(|&from| window[from..].starts_with(run));
        let from = found.unwrap_or_else(|| panic!("wrong bytes or a dishonest gap at {at}, gap {gap}"));
        at += from + run.len();
        slack = 0;
    }
    assert!(
        truth.len() - at <= slack,
        "missing tail of {} with a gap of {slack}",
        truth.len() - at
    );
    truth.len() - runs.iter().map(|(_, run)| run.len()).sum::<usize>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same(which in 0..SUITES.len(), sizes in sizes()) {
        let recording = &RECORDINGS[which];
        let (_, whole) = hear(recording);
        prop_assert!(whole.plain == recording.plain);
        let mut session = Session::new(Limits::default(), false);
        let mut events = Vec::new();
        for secret in &recording.secrets {
            session.offer(secret, &mut events);
        }
        for (side, piece) in pieces(recording, &sizes) {
            session.bytes(side, piece, Time(1), &mut events);
        }
        prop_assert!(Heard::from(&events) == whole);
    }

    #[test]
    fn secrets_in_any_order_among_decoys_give_the_same(
        which in 0..SUITES.len(),
        order in Just((0..60_usize).collect::<Vec<_>>()).prop_shuffle(),
        delays in proptest::collection::vec(0_usize..30, 60),
        skew in 0..3_usize,
        anonymous: bool,
    ) {
        let recording = &RECORDINGS[which];
        let (_, whole) = hear(recording);
        let mut pool: Vec<Secret> = recording.secrets.iter().chain(DECOYS.iter()).take(60).cloned().collect();
        if anonymous {
            pool.iter_mut().for_each(|secret| secret.client_random = None);
        }
        let mut wire = pieces(recording, &[30_000]);
        match skew {
            1 => wire.sort_by_key(|(side, _)| *side),
            2 => wire.sort_by_key(|(side, _)| side.peer()),
            _ => {}
        }
        let mut session = Session::new(Limits::default(), false);
        let mut events = Vec::new();
        for step in 0..=30.max(wire.len()) {
            for at in order.iter().filter(|&&at| at < pool.len() && delays[at] == step) {
                session.offer(&pool[*at], &mut events);
            }
            if let Some((side, piece)) = wire.get(step) {
                session.bytes(*side, piece.clone(), Time(1), &mut events);
            }
        }
        let heard = Heard::from(&events);
        prop_assert!(heard == whole, "{:?} {:?}", heard.gaps, heard.unreadable);
    }

    #[test]
    fn any_gap_gives_honest_gaps_and_no_wrong_byte(
        which in 0..SUITES.len(),
        side in prop_oneof![Just(Side::Client), Just(Side::Server)],
        place in 0.0..1.0_f64,
        length in prop_oneof![1_u64..40, 1_u64..20_000, 1_u64..80_000],
        size in prop_oneof![Just(60_000_usize), 1_usize..3000],
        late: bool,
    ) {
        let recording = &RECORDINGS[which];
        let total: usize = recording.wire.iter().filter(|(of, _)| *of == side).map(|(_, bytes)| bytes.len()).sum();
        let start = (total as f64 * place) as u64;
        let end = (start + length).min(total as u64);
        let mut session = Session::new(Limits::default(), false);
        let mut events = Vec::new();
        if !late {
            recording.secrets.iter().for_each(|secret| { session.offer(secret, &mut events); });
        }
        let mut at = 0;
        for (of, piece) in pieces(recording, &[size]) {
            if of != side {
                session.bytes(of, piece, Time(1), &mut events);
                continue;
            }
            let (from, to) = (at, at + piece.len() as u64);
            at = to;
            let cut = |position: u64| usize::try_from(position.clamp(from, to) - from).unwrap();
            session.bytes(of, piece.slice(..cut(start)), Time(1), &mut events);
            session.gap(of, (cut(end) - cut(start)) as u64, Time(1), &mut events);
            session.bytes(of, piece.slice(cut(end)..), Time(1), &mut events);
        }
        if late {
            recording.secrets.iter().for_each(|secret| { session.offer(secret, &mut events); });
        }
        session.close(Time(2), &mut events);
        let heard = Heard::from(&events);
        if heard.unreadable.is_empty() {
            assert_honest(&recording.plain[side.index()], &events, side);
            prop_assert!(heard.plain[side.peer().index()] == recording.plain[side.peer().index()]);
        } else {
            // Only the loss of a hello makes a session unreadable.
            prop_assert!(start < 1500, "{:?} {start}", heard.unreadable);
        }
    }

    #[test]
    fn damaged_and_repeated_bytes_give_no_wrong_byte(
        which in 0..SUITES.len(),
        place in 0.05..1.0_f64,
        flip in 1_u8..=255,
        repeat in 0_usize..3000,
    ) {
        let recording = &RECORDINGS[which];
        let mut wire = recording.wire.clone();
        let (_, victim) = &mut wire[((recording.wire.len() as f64 * place) as usize).max(6)..][0];
        let middle = victim.len() / 2;
        victim[middle] ^= flip;
        let again = victim[..middle.min(repeat)].to_vec();
        victim.splice(middle..middle, again);
        let mut session = Session::new(Limits::default(), false);
        let mut events = Vec::new();
        recording.secrets.iter().for_each(|secret| { session.offer(secret, &mut events); });
        for (side, bytes) in wire {
            session.bytes(side, bytes.into(), Time(1), &mut events);
        }
        session.close(Time(2), &mut events);
        for side in [Side::Client, Side::Server] {
            assert_honest(&recording.plain[side.index()], &events, side);
        }
    }

    #[test]
    fn any_bytes_are_survived_within_the_bounds(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
        fuzz::fuzz_session(&data);
    }
}

#[test]
fn a_gap_inside_a_record_is_exact_and_the_next_record_is_read() {
    for recording in RECORDINGS.iter() {
        // The second large record of the server: its first 1000 bytes come, the rest but 7 do not.
        let mut session = Session::new(Limits::default(), false);
        let mut events = Vec::new();
        recording.secrets.iter().for_each(|secret| {
            session.offer(secret, &mut events);
        });
        let mut large = 0;
        for (side, bytes) in &recording.wire {
            let is_large = *side == Side::Server && bytes.len() > 16_384 && bytes[0] == 23;
            large += usize::from(is_large);
            if is_large && large == 2 {
                let length = 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
                session.bytes(
                    *side,
                    Bytes::copy_from_slice(&bytes[..1000]),
                    Time(1),
                    &mut events,
                );
                session.gap(*side, (length - 1007) as u64, Time(1), &mut events);
                session.bytes(
                    *side,
                    Bytes::copy_from_slice(&bytes[length - 7..]),
                    Time(1),
                    &mut events,
                );
            } else {
                session.bytes(*side, Bytes::copy_from_slice(bytes), Time(1), &mut events);
            }
        }
        let missing = assert_honest(&recording.plain[1], &events, Side::Server);
        let heard = Heard::from(&events);
        assert!(
            matches!(heard.gaps[1].as_slice(), [(_, length, GapReason::Lost)] if *length == missing as u64),
            "{:?} {missing}",
            heard.gaps[1]
        );
        assert!(missing > 10_000 && missing <= 16_384);
    }
}

/// `large` bytes in records of `fragment` bytes, of which the wire bytes `from..to` are lost.
fn lose(which: usize, fragment: usize, large: usize, from: usize, to: usize) -> (Recording, Vec<Event>) {
    let mut pair = Pair::new(SUITES[which]);
    pair.server.max_fragment_size = Some(fragment);
    let mut script = talk();
    script.insert(1, Step::Send(Side::Server, noise(large, 8)));
    let recording = pair.run(&script);
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    recording.secrets.iter().for_each(|secret| {
        session.offer(secret, &mut events);
    });
    let mut at = 0;
    for (side, bytes) in &recording.wire {
        let bytes = Bytes::copy_from_slice(bytes);
        if *side == Side::Client {
            session.bytes(*side, bytes, Time(1), &mut events);
            continue;
        }
        let cut = |position: usize| position.clamp(at, at + bytes.len()) - at;
        let (start, end) = (cut(from), cut(to));
        session.bytes(*side, bytes.slice(..start), Time(1), &mut events);
        session.gap(*side, (end - start) as u64, Time(1), &mut events);
        session.bytes(*side, bytes.slice(end..), Time(1), &mut events);
        at += bytes.len();
    }
    (recording, events)
}

#[test]
fn a_loss_of_a_megabyte_is_bridged_and_measured_exactly() {
    for (which, fragment) in [(0, 16_384), (2, 1_400), (4, 16_384), (5, 1_400)] {
        let (recording, events) = lose(which, fragment, 2 << 20, 300_001, 1_400_003);
        let missing = assert_honest(&recording.plain[1], &events, Side::Server);
        let heard = Heard::from(&events);
        let &[(_, length, GapReason::Lost)] = heard.gaps[1].as_slice() else {
            panic!("{:?}", heard.gaps);
        };
        assert!((1_000_000..1_140_000).contains(&missing), "{missing}");
        assert_eq!(length, missing as u64, "suite {which}, records of {fragment}");
        assert!(recording.plain[1].ends_with(&heard.plain[1][300_000..]));
    }
}

/// That something is lost is told before anything that comes the other way after it.
#[test]
fn a_loss_is_announced_at_once() {
    let recording = &RECORDINGS[0];
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    recording.secrets.iter().for_each(|secret| {
        session.offer(secret, &mut events);
    });
    for (side, bytes) in &recording.wire {
        session.bytes(*side, Bytes::copy_from_slice(bytes), Time(1), &mut events);
    }
    events.clear();
    session.gap(Side::Client, 102, Time(2), &mut events);
    assert!(
        matches!(
            events.as_slice(),
            [qtap_tls::Event::Gap {
                side: Side::Client,
                length: 1,
                ..
            }]
        ),
        "{events:?}"
    );
    session.close(Time(3), &mut events);
    let heard = Heard::from(&events);
    let told: u64 = heard.gaps[0].iter().map(|(_, length, _)| length).sum();
    assert_eq!(told, 80, "the plaintext of one record of 102 bytes");
}

/// What looks like a header at every turn must not make the search dear: the work of trials is bounded per byte.
#[test]
fn a_search_among_false_headers_ends() {
    let recording = &RECORDINGS[0];
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    recording.secrets.iter().for_each(|secret| {
        session.offer(secret, &mut events);
    });
    for (side, bytes) in &recording.wire {
        session.bytes(*side, Bytes::copy_from_slice(bytes), Time(1), &mut events);
    }
    let before = Heard::from(&events).plain;
    session.gap(Side::Server, 1 << 30, Time(2), &mut events);
    let start = std::time::Instant::now();
    for _ in 0..64 {
        let headers = [0x17, 3, 3, 0, 0x11].repeat(800);
        session.bytes(Side::Server, headers.into(), Time(2), &mut events);
        assert!(session.buffered() < 20_000);
    }
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    session.close(Time(3), &mut events);
    let heard = Heard::from(&events);
    assert!(heard.plain == before);
    assert!(matches!(heard.gaps[1].as_slice(), [.., (_, length, GapReason::Lost)] if *length > 1 << 29));
}
