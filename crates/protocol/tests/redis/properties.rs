//! Properties of every input (P-M4, P-M5) and of lossy traffic (no reply is ever given to a wrong command).

use bytes::Bytes;
use proptest::prelude::*;
use qtap_protocol::{Event, Limits, Outcome, Parser as _, Side, Time, redis::Parser};

use crate::fuzz_body;
use crate::support::{command, done};

/// Bursts of numbered `ECHO`s, each answered before the next.
fn traffic(bursts: &[u8]) -> Vec<(Side, Vec<u8>)> {
    let mut number = 0_u32;
    let mut pieces = Vec::new();
    for burst in bursts {
        let numbers: Vec<String> = (0..*burst)
            .map(|index| format!("n{}", number + u32::from(index)))
            .collect();
        number += u32::from(*burst);
        pieces.extend(
            numbers
                .iter()
                .map(|number| (Side::Client, command(&["ECHO", number]))),
        );
        pieces.extend(numbers.iter().map(|number| {
            (
                Side::Server,
                format!("${}\r\n{number}\r\n", number.len()).into_bytes(),
            )
        }));
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2000 }))]

    #[test]
    fn arbitrary_scripts_keep_every_rule(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn lost_bytes_never_give_a_reply_to_a_wrong_command(
        bursts in prop::collection::vec(1_u8..6, 4..40),
        holes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..20, 1_usize..20), 1..4),
    ) {
        let pieces = traffic(&bursts);
        let mut parser = Parser::new(Limits::default(), false);
        let mut out = Vec::new();
        let holes: Vec<_> = holes.iter().map(|(index, from, length)| (index.index(pieces.len()), *from, *length)).collect();
        for (index, (side, data)) in pieces.iter().enumerate() {
            let time = Time(index as u64 + 1);
            let hole = holes.iter().find(|hole| hole.0 == index);
            let (from, to) = hole.map_or((data.len(), data.len()), |(_, from, length)| {
                (*from.min(&data.len()), (from + length).min(data.len()))
            });
            parser.bytes(*side, Bytes::copy_from_slice(&data[..from]), time, &mut out).unwrap();
            parser.gap(*side, (to - from) as u64, time, &mut out).unwrap();
            parser.bytes(*side, Bytes::copy_from_slice(&data[to..]), time, &mut out).unwrap();
        }
        parser.close(Time(u64::MAX), &mut out);
        fuzz_body::check(&out);
        for done in done(&out) {
            let (statement, _, shown) = done.brief();
            let has_gap = done.traffic.request.gap_bytes + done.traffic.response.gap_bytes > 0;
            if done.outcome == Outcome::Complete && !has_gap {
                prop_assert_eq!(statement, format!("ECHO {shown}"));
            }
        }
    }

    #[test]
    fn without_loss_every_command_is_complete(bursts in prop::collection::vec(1_u8..20, 1..20), step in 1_usize..50) {
        let mut parser = Parser::new(Limits::default(), false);
        let mut out = Vec::new();
        for (side, data) in traffic(&bursts) {
            for piece in data.chunks(step) {
                parser.bytes(side, Bytes::copy_from_slice(piece), Time(1), &mut out).unwrap();
            }
        }
        let done = done(&out);
        prop_assert_eq!(done.len(), bursts.iter().map(|burst| usize::from(*burst)).sum::<usize>());
        for done in done {
            prop_assert_eq!(format!("ECHO {}", done.brief().2), done.brief().0);
        }
        let has_other = out.iter().any(|event| !matches!(event, Event::Command { .. } | Event::CommandEnd { .. }));
        prop_assert!(!has_other);
    }
}
