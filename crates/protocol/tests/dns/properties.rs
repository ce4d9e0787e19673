//! Properties of every input (P-M4, P-M5) and of lossy traffic: no answer is ever given to a wrong query.

use proptest::prelude::*;
use qtap_protocol::{Detail, Limits, Outcome, Time, dns};

use crate::commands::{Pieces, bursts, lossy};
use crate::fuzz_body;
use crate::support::{answer, brief, ended, framed, query};

/// Bursts of queries, each answered from its last one to its first. The address tells the query.
fn traffic(lengths: &[u8]) -> Pieces {
    let name = |number: u32| format!("n{number}.test");
    let id = |number: u32| u16::try_from(number % 8).unwrap();
    let ask = |number| framed(&query(id(number), &name(number)));
    let address = |number: u32| u8::try_from(number).expect("fewer than 256 queries");
    let reply = |number| framed(&answer(id(number), &name(number), address(number)));
    bursts(lengths, 0, true, ask, reply)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2000 }))]

    #[test]
    fn arbitrary_scripts_keep_every_rule(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn lost_bytes_never_give_an_answer_to_a_wrong_query(
        bursts in prop::collection::vec(1_u8..6, 4..40),
        holes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..50, 1_usize..60), 1..4),
    ) {
        let (out, result) = lossy(&mut *dns::start(Limits::default(), Detail::default(), false), &traffic(&bursts), &holes);
        prop_assert!(result.is_ok());
        fuzz_body::check(&out);
        for exchange in ended(&out) {
            let (name, shown, outcome) = brief(&exchange);
            if outcome == Outcome::Complete && exchange.gap_bytes() == 0 {
                prop_assert_eq!(vec![name.replace('n', "10.0.0.").replace(".test", "")], shown);
            } else {
                prop_assert!(exchange.gap_bytes() > 0 || outcome == Outcome::Incomplete, "{:?}", exchange);
            }
        }
    }

    #[test]
    fn without_loss_every_query_is_complete_however_it_is_split(
        bursts in prop::collection::vec(1_u8..20, 1..12),
        step in 1_usize..50,
        midstream: bool,
    ) {
        let mut parser = dns::start(Limits::default(), Detail::default(), midstream);
        let mut out = Vec::new();
        for (side, data) in traffic(&bursts) {
            for piece in data.chunks(step) {
                parser.bytes(side, bytes::Bytes::copy_from_slice(piece), Time(1), &mut out).unwrap();
            }
        }
        let ended = ended(&out);
        prop_assert_eq!(ended.len(), bursts.iter().map(|burst| usize::from(*burst)).sum::<usize>());
        prop_assert!(ended.iter().all(|exchange| exchange.outcome == Outcome::Complete));
        prop_assert_eq!(out.len(), 2 * ended.len(), "nothing else comes of it");
    }
}
