//! Properties of every input (P-M4, P-M5) and of lossy traffic (no reply is ever given to a wrong command).

use proptest::prelude::*;
use qtap_protocol::{Detail, Limits, Outcome, redis};

use crate::commands::{Pieces, bursts, lossy, split};
use crate::fuzz_body;
use crate::support::{command, done};

/// Bursts of numbered `ECHO`s, each answered before the next.
fn traffic(lengths: &[u8]) -> Pieces {
    let text = |number: u32| format!("n{number}");
    let ask = |number| command(&["ECHO", &text(number)]);
    let reply = |number| format!("${}\r\n{}\r\n", text(number).len(), text(number)).into_bytes();
    bursts(lengths, 0, false, ask, reply)
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
        let (out, result) = lossy(&mut *redis::start(Limits::default(), Detail::default(), false), &traffic(&bursts), &holes);
        prop_assert!(result.is_ok());
        fuzz_body::check(&out);
        for done in done(&out) {
            let (statement, _, shown) = done.shown();
            let has_gap = done.traffic.request.gap_bytes + done.traffic.response.gap_bytes > 0;
            if done.outcome == Outcome::Complete && !has_gap {
                prop_assert_eq!(statement, format!("ECHO {shown}"));
            }
        }
    }

    #[test]
    fn without_loss_every_command_is_complete(bursts in prop::collection::vec(1_u8..20, 1..20), step in 1_usize..50) {
        let out = split(&mut *redis::start(Limits::default(), Detail::default(), false), &traffic(&bursts), step);
        let done = done(&out);
        prop_assert_eq!(done.len(), bursts.iter().map(|burst| usize::from(*burst)).sum::<usize>());
        for done in done {
            prop_assert_eq!(format!("ECHO {}", done.shown().2), done.shown().0);
        }
    }
}
