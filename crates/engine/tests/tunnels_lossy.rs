//! Tunnels however their bytes are split, and whatever of them is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../tls/tests/common/mod.rs"]
mod handshakes;
mod support;
#[path = "support/tunnels.rs"]
mod tunnels;

use std::sync::LazyLock;

use handshakes::Recording;
use proptest::prelude::*;
use qtap_capture::Direction;
use qtap_engine::HealthStatus;
use qtap_protocol::{Outcome, Side};
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as TLS12, TLS13_AES_128_GCM_SHA256 as TLS13,
};
use support::Bench;
use tunnels::*;

/// Two tunnels with TLS inside, by turns, on streams of a connection inside of TLS; and all secrets.
static CONVERSATION: LazyLock<Recording> = LazyLock::new(|| {
    let recordings = [inner(TLS13, "/one"), inner(TLS12, "/two")];
    let mut wire = http2();
    let tunnels: Vec<Wire> = (recordings.iter().zip([1_u8, 3]))
        .map(|(recording, stream)| http2_tunnel(stream, "a.example:443", &recording.wire, 900))
        .collect();
    let longest = tunnels.iter().map(Vec::len).max().unwrap();
    for at in 0..longest {
        wire.extend(tunnels.iter().filter_map(|tunnel| tunnel.get(at).cloned()));
    }
    let mut all = under_tls(TLS13, &wire);
    for recording in recordings {
        all.secrets.extend(recording.secrets);
    }
    all
});

/// Plays it in pieces that end at `cuts`, but for those of `lost`.
fn play_in_pieces(cuts: &[usize], lost: &[usize]) -> Bench {
    let mut bench = opened();
    derives(&mut bench, &CONVERSATION.secrets, true);
    let mut number = 0;
    for (side, bytes) in &CONVERSATION.wire {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut start = 0;
        for end in ends {
            let piece = &bytes[start..end];
            start = end;
            number += 1;
            if lost.contains(&number) {
                let direction = if *side == Side::Client {
                    Direction::Egress
                } else {
                    Direction::Ingress
                };
                bench.loses(direction, piece.len() as u64);
            } else if !piece.is_empty() {
                passes(&mut bench, *side, piece);
            }
        }
    }
    bench.close();
    bench.wait_ms(3000);
    bench
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p_m5_splits_change_nothing(cuts in prop::collection::vec(any::<usize>(), 0..4)) {
        let bench = play_in_pieces(&cuts, &[]);
        let transactions = bench.transactions();
        prop_assert_eq!(transactions.len(), 4);
        let report = bench.final_report();
        prop_assert_eq!(report.health.status, HealthStatus::Healthy, "{:?}", report.health.reasons);
    }

    /// What is lost is said, what is told is so, and nothing stays behind.
    #[test]
    fn p_l2_losses_never_mispair(
        cuts in prop::collection::vec(any::<usize>(), 0..3),
        lost in prop::collection::vec(1..120_usize, 1..6),
    ) {
        let bench = play_in_pieces(&cuts, &lost);
        for transaction in bench.transactions() {
            let is_whole = transaction.outcome == Outcome::Complete && transaction.gap_bytes() == 0;
            if is_whole && transaction.request.method == "GET" {
                prop_assert_eq!(&transaction.response_half.body.data[..], b"hello");
                let target = &transaction.request.target[..];
                prop_assert!(target == b"/one" || target == b"/two", "{:?}", target);
            }
        }
        let report = bench.final_report();
        if report.health.gap_bytes == 0 {
            prop_assert_eq!(bench.transactions().len(), 4);
        } else {
            prop_assert_ne!(report.health.status, HealthStatus::Healthy);
        }
        prop_assert_eq!(bench.worker.held(), 0);
        prop_assert_eq!(bench.worker.connections(), 0);
        prop_assert_eq!(bench.stats.panics.get(), 0);
    }
}
