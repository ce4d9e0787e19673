//! TLS and HTTP inside of tunnels (P-C1): behind a CONNECT inside of TLS, and on streams of HTTP/2.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../tls/tests/common/mod.rs"]
mod handshakes;
#[path = "support/kafka.rs"]
mod kafka;
mod support;
#[path = "support/tunnels.rs"]
mod tunnels;

use qtap_capture::{Direction, Role};
use qtap_engine::{HealthStatus, Interest, ProcessTls, ReasonCode, Transaction};
use qtap_protocol::{Outcome, Side, Upgrade};
use qtap_tls::Secret;
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as TLS12, TLS13_AES_128_GCM_SHA256 as TLS13,
};
use support::Bench;
use tunnels::*;

/// Method, target, whether it went over TLS, and how it ended.
fn told(transactions: &[Transaction]) -> Vec<(String, String, Outcome)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = transactions.iter().map(|transaction| {
        let request = &transaction.request;
        (
            text(request.method.as_ref()),
            text(request.target.as_ref()),
            transaction.outcome,
        )
    });
    told.collect()
}

fn assert_tunnel(transaction: &Transaction) {
    assert_eq!(
        (transaction.outcome, transaction.upgraded_to.clone()),
        (Outcome::Upgraded, Some(Upgrade::Tunnel))
    );
    assert_eq!(transaction.request_half.counts.body_bytes, 0);
    assert_eq!(transaction.response_half.counts.body_bytes, 0);
}

fn assert_healthy(bench: &Bench) {
    let report = bench.final_report();
    assert_eq!(report.health.reasons, []);
    assert_eq!(report.health.status, HealthStatus::Healthy);
}

/// curl with an HTTPS proxy: TLS to the proxy, CONNECT in it, TLS to the server inside.
#[test]
fn p_c1_tls_inside_of_tls_is_read_with_its_own_secrets() {
    for (outer, innermost) in [(TLS13, TLS13), (TLS13, TLS12), (TLS12, TLS13), (TLS12, TLS12)] {
        for hinted in [true, false] {
            let inside = inner(innermost, "/inside");
            let outside = under_tls(outer, &http1_tunnel(&inside.wire));
            // Inner secrets are told before there is a tunnel to try them on, in time, or after all of it has passed.
            for at in [4, 9, outside.wire.len() - 1] {
                let mut bench = opened();
                let secrets = [(1, &outside.secrets[..]), (at, &inside.secrets[..])];
                play(&mut bench, &outside.wire, &secrets, hinted);
                bench.wait_ms(20);
                // At once, not after a wait in vain.
                let transactions = bench.transactions();
                bench.close();
                bench.wait_ms(400);
                let case = format!("{outer:?} {innermost:?} hinted {hinted} at {at}");
                assert_eq!(transactions.len(), 2, "{case}: {:?}", told(&transactions));
                assert_tunnel(&transactions[0]);
                assert_eq!(transactions[1].outcome, Outcome::Complete, "{case}");
                assert_eq!(transactions[1].response_half.body.data, &b"hello"[..]);
                assert_healthy(&bench);
            }
        }
    }
}

/// What a forward proxy passes on is none of its own business: it has no secrets of it, and the connection says so.
#[test]
fn p_c1_tls_inside_of_tls_without_its_secrets_is_told_as_unread() {
    let inside = inner(TLS13, "/inside");
    let outside = under_tls(TLS13, &http1_tunnel(&inside.wire));
    let mut bench = opened();
    play(&mut bench, &outside.wire, &[(1, &outside.secrets)], true);
    bench.wait_ms(2500);
    bench.close();
    assert_eq!(told(&bench.transactions()).len(), 1);
    assert_eq!(bench.codes(), [ReasonCode::TunnelUnread]);
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert_eq!(
        report.health.reasons[0].detail,
        "1 of 1 tunnels: no secret of the TLS inside was seen"
    );
    assert_eq!(report.upgraded_to, Some(Upgrade::Tunnel));
}

/// A tunnel leads elsewhere: its transactions are those of another server.
#[test]
fn p_c1_transactions_of_a_tunnel_have_the_name_of_its_far_end() {
    let inside: Wire = vec![
        (Side::Client, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (
            Side::Server,
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        ),
    ];
    let outside = under_tls(TLS13, &http1_tunnel(&inside));
    let mut bench = opened();
    play(&mut bench, &outside.wire, &[(1, &outside.secrets)], true);
    bench.close();
    let received = bench.received.lock().unwrap();
    let endpoints: Vec<_> = received
        .facts
        .iter()
        .map(|facts| (facts.endpoint_id(), facts.tls.is_some()))
        .collect();
    assert_eq!(
        endpoints,
        [
            ("example.test".to_owned(), true),
            ("inner.example".to_owned(), false)
        ]
    );
}

#[test]
fn p_c1_a_tunnel_on_a_stream_of_http2_is_read_like_a_connection() {
    let inside: Wire = vec![
        (
            Side::Client,
            b"POST /plain HTTP/1.1\r\nhost: inner.example\r\ncontent-length: 3\r\n\r\nabc".to_vec(),
        ),
        (
            Side::Server,
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec(),
        ),
    ];
    for frame_bytes in [1, 7, 4096] {
        let mut bench = opened();
        play(&mut bench, &http2(), &[], true);
        play(
            &mut bench,
            &http2_tunnel(1, "inner.example:80", &inside, frame_bytes),
            &[],
            true,
        );
        let transactions = bench.transactions();
        assert_eq!(
            told(&transactions),
            [
                (
                    "CONNECT".to_owned(),
                    "inner.example:80".to_owned(),
                    Outcome::Upgraded
                ),
                ("POST".to_owned(), "/plain".to_owned(), Outcome::Complete),
            ]
        );
        assert_tunnel(&transactions[0]);
        assert_eq!(transactions[1].request_half.body.data, &b"abc"[..]);
        assert_eq!(transactions[1].response_half.body.data, &b"hello"[..]);
        bench.close();
        assert_healthy(&bench);
        assert_eq!(bench.final_report().transactions, 2);
        assert_eq!(
            bench.final_report().upgraded_to,
            None,
            "the connection stays HTTP/2"
        );
    }
}

/// Browsers keep one connection to a proxy of HTTP/2 for all servers.
#[test]
fn p_c1_tunnels_on_streams_have_tls_and_secrets_of_their_own() {
    for (over_tls, hinted) in [(false, true), (true, true), (true, false)] {
        let recordings = [inner(TLS13, "/one"), inner(TLS12, "/two"), inner(TLS13, "/three")];
        let mut wire = http2();
        let tunnels: Vec<Wire> = (recordings.iter().zip([1_u8, 3, 5]))
            .map(|(recording, stream)| {
                http2_tunnel(stream, &format!("s{stream}.example:443"), &recording.wire, 900)
            })
            .collect();
        // One piece of each in turn.
        let longest = tunnels.iter().map(Vec::len).max().unwrap();
        for at in 0..longest {
            wire.extend(tunnels.iter().filter_map(|tunnel| tunnel.get(at).cloned()));
        }
        let mut inner_secrets: Vec<Secret> = Vec::new();
        for recording in &recordings {
            inner_secrets.extend(recording.secrets.iter().cloned());
        }
        let mut bench = opened();
        if over_tls {
            let outside = under_tls(TLS13, &wire);
            let secrets = [(1, &outside.secrets[..]), (12, &inner_secrets[..])];
            play(&mut bench, &outside.wire, &secrets, hinted);
        } else {
            play(&mut bench, &wire, &[(12, &inner_secrets)], hinted);
        }
        bench.wait_ms(20);
        let mut told: Vec<_> = told(&bench.transactions())
            .into_iter()
            .map(|(_, target, outcome)| (target, outcome))
            .collect();
        told.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(
            told,
            [
                ("/one".to_owned(), Outcome::Complete),
                ("/three".to_owned(), Outcome::Complete),
                ("/two".to_owned(), Outcome::Complete),
                ("s1.example:443".to_owned(), Outcome::Upgraded),
                ("s3.example:443".to_owned(), Outcome::Upgraded),
                ("s5.example:443".to_owned(), Outcome::Upgraded),
            ],
            "over TLS {over_tls}"
        );
        let streams: std::collections::BTreeSet<_> = bench
            .transactions()
            .iter()
            .map(|transaction| transaction.stream)
            .collect();
        assert_eq!(streams.len(), 6, "each has a number of its own");
        bench.close();
        bench.wait_ms(400);
        assert_healthy(&bench);
    }
}

#[test]
fn frames_that_are_lost_damage_the_tunnel_they_may_be_of_and_say_so() {
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes();
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let mut bench = opened();
    play(&mut bench, &http2(), &[], true);
    let tunnel = http2_tunnel(1, "a.example:80", &vec![(Side::Client, request("/first"))], 900);
    for (side, bytes) in &tunnel[..3] {
        passes(&mut bench, *side, bytes);
    }
    bench.loses(Direction::Ingress, 60);
    for path in ["/second", "/third"] {
        passes(&mut bench, Side::Client, &frame(0, 0, 1, &request(path)));
        passes(&mut bench, Side::Server, &frame(0, 0, 1, response));
    }
    bench.wait_ms(1000);
    bench.close();
    let transactions = bench.transactions();
    let whole: Vec<_> = transactions
        .iter()
        .filter(|transaction| transaction.outcome == Outcome::Complete)
        .collect();
    // Which of them the lost response answered is not known: no response is given to the wrong request.
    for transaction in whole {
        assert_ne!(&transaction.request.target[..], b"/first");
    }
    assert_eq!(bench.final_report().health.status, HealthStatus::Degraded);
}

/// A reset ends what is inside.
#[test]
fn a_tunnel_that_is_reset_ends_its_transactions() {
    let mut bench = opened();
    play(&mut bench, &http2(), &[], true);
    let request = vec![(Side::Client, b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n".to_vec())];
    let tunnel = http2_tunnel(1, "a.example:80", &request, 900);
    for (side, bytes) in &tunnel[..3] {
        passes(&mut bench, *side, bytes);
    }
    passes(&mut bench, Side::Client, &frame(3, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(
        told(&bench.transactions())[1],
        ("GET".to_owned(), "/slow".to_owned(), Outcome::Canceled)
    );
    bench.close();
}

/// A tunnel in a tunnel is read, one in that is not.
#[test]
fn tunnels_inside_of_tunnels_are_read_to_a_depth() {
    let mut wire: Wire = vec![
        (
            Side::Client,
            b"GET /innermost HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        ),
        (
            Side::Server,
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        ),
    ];
    for depth in 1..=3_usize {
        let mut nested = http2();
        nested.extend(http2_tunnel(1, "next.example:80", &wire, 8192));
        wire = nested;
        let mut bench = opened();
        play(&mut bench, &wire, &[], true);
        bench.close();
        let expected = if depth <= 2 { depth + 1 } else { depth };
        assert_eq!(bench.transactions().len(), expected, "depth {depth}");
        if depth > 2 {
            assert_eq!(bench.codes(), [ReasonCode::TunnelUnread]);
        }
    }
}

/// More tunnels at a time than are read are said to be unread, and cost no memory.
#[test]
fn tunnels_are_bounded() {
    let mut bench = Bench::with(true, Interest::Head);
    bench.open(Role::Client, false);
    play(&mut bench, &http2(), &[], true);
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for number in 0..1100_u32 {
        let id = (2 * number + 1).to_be_bytes();
        let on_stream = |kind: u8, flags: u8, payload: &[u8]| {
            let mut frame = frame(kind, flags, 0, payload);
            frame[5..9].copy_from_slice(&id);
            frame
        };
        let block = [field(2, "CONNECT"), field(1, "a.example:80")].concat();
        bench.writes(&on_stream(1, END_HEADERS, &block));
        bench.reads(&on_stream(1, END_HEADERS, &[0x88]));
        bench.writes(&on_stream(0, 0, request));
    }
    bench.close();
    let gets = told(&bench.transactions())
        .iter()
        .filter(|(method, ..)| method == "GET")
        .count();
    assert_eq!(gets, 1024);
    let detail = &bench.final_report().health.reasons[0].detail;
    assert!(detail.starts_with("76 of 1100 tunnels"), "{detail}");
    assert_eq!(bench.worker.held(), 0);
}

/// What is held for a secret counts to the memory of the agent, and is given up when that is short.
#[test]
fn ciphertext_of_a_tunnel_that_waits_for_its_secret_is_bounded() {
    let inside = inner(TLS13, "/inside");
    let mut bench = Bench::within(4 << 10, true, Interest::Body(1 << 20));
    bench.host.0.lock().unwrap().tls = Some(ProcessTls::default());
    bench.open(Role::Client, false);
    let wire = http2_tunnel(1, "a.example:443", &inside.wire, 900);
    play(&mut bench, &http2(), &[], true);
    play(&mut bench, &wire[..8].to_vec(), &[], true);
    let held = bench.worker.held();
    assert!(held > 0, "ciphertext waits");
    let record = [&[0x17, 3, 3, 0x20, 0][..], &[7; 0x2000]].concat();
    for _ in 0..4 {
        bench.reads(&frame(0, 0, 1, &record));
    }
    bench.wait_ms(600);
    assert!(bench.worker.held() < 4 << 10, "{}", bench.worker.held());
    bench.close();
    assert!(bench.codes().contains(&ReasonCode::TunnelUnread));
}

/// A command in a tunnel waits as well as any for what another connection tells.
#[test]
fn p_k4_a_fetch_in_a_tunnel_waits_for_the_name_of_its_topic() {
    let inside = |id| -> Wire {
        vec![
            (Side::Client, kafka::fetch(1, id)),
            (Side::Server, kafka::fetched(1, id)),
        ]
    };
    let (first, second) = (*b"in a tunnel of 1", *b"in a tunnel of 2");
    let mut on_stream = [
        http2(),
        http2_tunnel(1, "broker.example:9092", &inside(second), 1000),
    ]
    .concat();
    // Its ends are yet to come.
    on_stream.truncate(on_stream.len() - 2);
    for (id, wire) in [(first, http1_tunnel(&inside(first))), (second, on_stream)] {
        let outside = under_tls(TLS13, &wire);
        let mut bench = opened();
        play(&mut bench, &outside.wire, &[(1, &outside.secrets)], true);
        bench.wait_ms(300);
        assert!(bench.received.lock().unwrap().commands.is_empty() && bench.worker.held() > 0);
        let mut other = opened();
        other.writes(&kafka::metadata(1));
        other.reads(&kafka::described(1, "orders", id));
        bench.wait_ms(25);
        let received = bench.received.lock().unwrap();
        let statements: Vec<_> = (received.commands.iter())
            .map(|done| done.command.statement().into_owned())
            .collect();
        assert_eq!(statements, ["Fetch orders"]);
    }
}
