//! Properties of every input (P-M4, P-M5) and of lossy traffic (no result is ever given to a wrong statement).

use proptest::prelude::*;
use qtap_protocol::{Detail, Limits, Outcome, Side, mysql};

use crate::commands::{Pieces, lossy, split};
use crate::fuzz_body;
use crate::support::{USUAL, done};
use crate::wire::*;

/// How a connection speaks.
#[derive(Clone, Copy, Debug)]
struct Speech {
    flags: u32,
    is_pipelined: bool,
}

fn speech() -> impl Strategy<Value = Speech> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(is_old, is_compressed, is_pipelined)| Speech {
        flags: (if is_old { USUAL & !DEPRECATE_EOF } else { USUAL })
            | if is_compressed { COMPRESS } else { 0 },
        is_pipelined,
    })
}

/// Bursts of numbered statements; every third is a change, every third is preceded by a command without reply.
fn traffic(bursts: &[u8], speech: Speech) -> Pieces {
    let flags = speech.flags;
    let mut pieces = vec![
        (Side::Server, greeting(flags, 0)),
        (Side::Client, login(1, flags, 0, "shop", "till")),
        (Side::Server, packet(2, &ok(0, 0, AUTOCOMMIT))),
    ];
    let wrap = |sequence, data: Vec<u8>| match flags & COMPRESS {
        0 => data,
        _ => frame(sequence, &data, data.len() > 50),
    };
    let (middle, last) = match flags & DEPRECATE_EOF {
        0 => (vec![eof(AUTOCOMMIT)], eof(AUTOCOMMIT)),
        _ => (vec![], end(AUTOCOMMIT)),
    };
    let mut number = 0_u32;
    for burst in bursts {
        let numbers: Vec<u32> = (number..number + u32::from(*burst)).collect();
        number += u32::from(*burst);
        let asked = |n: u32| {
            let before = if n % 3 == 1 { wrap(0, close(n)) } else { Vec::new() };
            (
                Side::Client,
                [before, wrap(0, query(&format!("select {n}")))].concat(),
            )
        };
        let answered = |n: u32| {
            let value = row(&[Some(&n.to_string())]);
            let payloads = match n % 3 {
                0 => vec![ok(n.into(), 0, AUTOCOMMIT)],
                _ => [columns(&["a"]), middle.clone(), vec![value, last.clone()]].concat(),
            };
            (Side::Server, wrap(1, reply(&payloads)))
        };
        if speech.is_pipelined {
            pieces.extend(numbers.iter().map(|n| asked(*n)));
            pieces.extend(numbers.iter().map(|n| answered(*n)));
        } else {
            pieces.extend(numbers.iter().flat_map(|n| [asked(*n), answered(*n)]));
        }
    }
    pieces
}

/// The number that a result shows.
fn shown(result: &qtap_protocol::CommandResult) -> Option<String> {
    match result.affected {
        Some(number) => Some(number.to_string()),
        None => Some(result.preview.trim_end().to_owned()).filter(|text| !text.is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2000 }))]

    #[test]
    fn arbitrary_scripts_keep_every_rule(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn lost_bytes_never_give_a_result_to_a_wrong_statement(
        bursts in prop::collection::vec(1_u8..6, 4..20),
        speech in speech(),
        holes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..60, 1_usize..60), 1..4),
    ) {
        let pieces = traffic(&bursts, speech);
        let (out, _) = lossy(&mut *mysql::start(Limits::default(), Detail::default(), false), &pieces, &holes);
        fuzz_body::check(&out);
        let mut complete = 0;
        for done in done(&out) {
            let has_gap = done.traffic.request.gap_bytes + done.traffic.response.gap_bytes > 0;
            let shown = done.result.as_ref().and_then(shown);
            if done.outcome == Outcome::Complete && !has_gap && !done.command.truncated && let Some(shown) = shown {
                prop_assert_eq!(done.statement(), format!("select {shown}"));
                complete += 1;
            }
        }
        // One command at a time, the order is found again after each hole.
        let asked: usize = bursts.iter().map(|burst| usize::from(*burst)).sum();
        if !speech.is_pipelined {
            prop_assert!(complete + 8 * holes.len() + 8 >= asked, "{} of {}", complete, asked);
        }
    }

    #[test]
    fn joined_in_the_middle_no_result_is_given_to_a_wrong_statement(
        bursts in prop::collection::vec(1_u8..6, 4..20),
        speech in speech(),
        skipped in 3_usize..20,
        cut in 0_usize..60,
    ) {
        let speech = Speech { is_pipelined: false, ..speech };
        let mut pieces = traffic(&bursts, speech);
        pieces.drain(..skipped.min(pieces.len() - 1));
        let first = &mut pieces[0].1;
        first.drain(..cut.min(first.len()));
        let (out, result) = lossy(&mut *mysql::start(Limits::default(), Detail::default(), true), &pieces, &[]);
        prop_assert!(result.is_ok());
        fuzz_body::check(&out);
        for done in done(&out).iter().filter(|done| done.outcome == Outcome::Complete) {
            let shown = done.result.as_ref().and_then(shown);
            if let Some(shown) = shown {
                prop_assert_eq!(done.statement(), format!("select {shown}"));
            }
        }
    }

    #[test]
    fn without_loss_every_statement_is_complete(
        bursts in prop::collection::vec(1_u8..20, 1..20),
        speech in speech(),
        step in 1_usize..50,
    ) {
        let out = split(&mut *mysql::start(Limits::default(), Detail::default(), false), &traffic(&bursts, speech), step);
        let done = done(&out);
        prop_assert_eq!(done.len(), bursts.iter().map(|burst| usize::from(*burst)).sum::<usize>());
        for done in done {
            prop_assert_eq!(done.outcome, Outcome::Complete);
            prop_assert_eq!(done.statement(), format!("select {}", shown(done.result()).unwrap()));
        }
    }
}
