//! Properties of every input (P-M4, P-M5) and of lossy traffic (no reply is ever given to a wrong request).

use proptest::prelude::*;
use qtap_protocol::Outcome;

use crate::commands::{Pieces, bursts, lossy, split};
use crate::fuzz_body;
use crate::messages::*;
use crate::support::{done, parser};

/// Bursts of numbered requests, each answered before the next: the topic that a request names is in its reply.
fn traffic(lengths: &[u8]) -> Pieces {
    let name = |number: u32| format!("topic-{number}");
    let id = |number: u32| i32::try_from(number).unwrap();
    let ask = |number| match number % 2 {
        0 => produce(9, id(number), 1, &name(number), &[values(&[&name(number)])]),
        _ => fetch(11, id(number), (0, -1), &[(&name(number), 0)], &[]),
    };
    let reply = |number| match number % 2 {
        0 => produced(9, id(number), &name(number), &[(0, i64::from(number))]),
        _ => fetched(11, id(number), 0, &[(&name(number), 0, 0, values(&["x", "y"]))]),
    };
    bursts(lengths, 100, false, ask, reply)
}

/// A reply that was read names the topic of its request, and nothing of another.
fn is_own(statement: &str, tags: &[String]) -> bool {
    let topic = statement.split(' ').next_back().unwrap();
    let named = tags.iter().filter(|tag| tag.contains("topic-"));
    named.into_iter().all(|tag| {
        tag.split(['/', ' ', '['])
            .filter(|word| word.starts_with("topic-"))
            .all(|word| word.starts_with(topic))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 500 }))]

    #[test]
    fn arbitrary_scripts_keep_every_rule(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn lost_bytes_never_give_a_reply_to_a_wrong_request(
        bursts in prop::collection::vec(1_u8..6, 4..20),
        holes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..90, 1_usize..90), 1..5),
        midstream in any::<bool>(),
    ) {
        let (out, result) = lossy(&mut parser(midstream), &traffic(&bursts), &holes);
        prop_assert!(result.is_ok());
        fuzz_body::check(&out);
        let ended = done(&out);
        for done in &ended {
            let has_gap = done.traffic.request.gap_bytes + done.traffic.response.gap_bytes > 0;
            if let (Outcome::Complete, false, Some(result)) = (done.outcome, has_gap, &done.result) {
                prop_assert!(is_own(&done.statement(), &result.tags), "{:?}", done);
                prop_assert_eq!(result.kind, "OK");
            }
        }
        // A hole costs the commands that it hits and, where it hides the end of a frame, its neighbours.
        let total: usize = bursts.iter().map(|burst| usize::from(*burst)).sum();
        let complete = ended.iter().filter(|done| done.outcome == Outcome::Complete).count();
        prop_assert!(complete + 2 * holes.len() + 1 >= total, "{complete} of {total}, {} holes", holes.len());
    }

    #[test]
    fn without_loss_every_request_is_complete(bursts in prop::collection::vec(1_u8..20, 1..10), step in 1_usize..50) {
        let out = split(&mut parser(false), &traffic(&bursts), step);
        let ended = done(&out);
        prop_assert_eq!(ended.len(), bursts.iter().map(|burst| usize::from(*burst)).sum::<usize>());
        for done in ended {
            prop_assert_eq!(done.outcome, Outcome::Complete);
            prop_assert!(is_own(&done.statement(), &done.result().tags), "{:?}", done);
        }
    }
}
