//! Properties of every input (P-M4, P-M5) and of lossy traffic (no result is ever given to a wrong statement).

use proptest::prelude::*;
use qtap_protocol::{Detail, Limits, Outcome, Side, postgres};

use crate::commands::{Pieces, lossy, split};
use crate::fuzz_body;
use crate::support::done;
use crate::wire::*;

/// Bursts of numbered statements, each answered before the next; every third by a simple query, the others with results in binary and
/// described, half of them apart from their runs.
fn traffic(bursts: &[u8]) -> Pieces {
    let mut pieces = vec![
        (Side::Client, startup(&["user", "a"])),
        (Side::Server, ready(b'I')),
    ];
    let mut number = 0_u32;
    for burst in bursts {
        let numbers: Vec<u32> = (number..number + u32::from(*burst)).collect();
        number += u32::from(*burst);
        for n in &numbers {
            let statement = format!("select {n}");
            let bound = bind_with("", &[], &[], &[1]);
            let asked = match n % 3 {
                0 => query(&statement),
                1 => [
                    parse("", &statement),
                    bound,
                    describe(b'P', ""),
                    execute(""),
                    sync(),
                ]
                .concat(),
                _ => [
                    parse("", &statement),
                    describe(b'S', ""),
                    bound,
                    execute(""),
                    sync(),
                ]
                .concat(),
            };
            pieces.push((Side::Client, asked));
        }
        for n in &numbers {
            let (text, value) = (n.to_string(), n.to_be_bytes());
            let columns = |format| typed_columns(&[("n", 23)], format);
            let (head, value) = match n % 3 {
                0 => (columns(0), text.as_bytes()),
                1 => ([bare(b'1'), bare(b'2'), columns(1)].concat(), &value[..]),
                _ => (
                    [bare(b'1'), parameters(&[]), columns(0), bare(b'2')].concat(),
                    &value[..],
                ),
            };
            pieces.push((
                Side::Server,
                [head, raw_row(&[Some(value)]), complete("SELECT 1"), ready(b'I')].concat(),
            ));
        }
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
    fn lost_bytes_never_give_a_result_to_a_wrong_statement(
        bursts in prop::collection::vec(1_u8..6, 4..40),
        holes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, 1_usize..40), 1..4),
    ) {
        let (out, result) = lossy(&mut *postgres::start(Limits::default(), Detail::default(), false), &traffic(&bursts), &holes);
        prop_assert!(result.is_ok() || !holes.is_empty());
        fuzz_body::check(&out);
        for done in done(&out) {
            let has_gap = done.traffic.request.gap_bytes + done.traffic.response.gap_bytes > 0;
            let shown = done.result.as_ref().map_or("", |result| result.preview.trim_end());
            if done.outcome == Outcome::Complete && !has_gap && !done.command.truncated && !shown.is_empty() {
                prop_assert_eq!(done.statement(), format!("select {shown}"));
            }
        }
    }

    #[test]
    fn without_loss_every_statement_is_complete(bursts in prop::collection::vec(1_u8..20, 1..20), step in 1_usize..50) {
        let out = split(&mut *postgres::start(Limits::default(), Detail::default(), false), &traffic(&bursts), step);
        let done = done(&out);
        prop_assert_eq!(done.len(), bursts.iter().map(|burst| usize::from(*burst)).sum::<usize>());
        for done in done {
            prop_assert_eq!(done.statement(), format!("select {}", done.result().preview.trim_end()));
        }
    }
}
