//! Properties of every input (P-M4, P-M5) and of lossy traffic (no response is ever given to a wrong request).

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use qtap_protocol::{Event, Limits, Outcome, Parser as _, Side, Time, http1::Parser};

use crate::fuzz_body::{self, Call};

/// One exchange: how the request and the response are framed.
#[derive(Clone, Debug)]
struct Exchange {
    head_only: bool,
    upload: usize,
    download: usize,
    chunked: bool,
    interim: bool,
    trailers: bool,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let sizes = (0_usize..60, 0_usize..200);
    (any::<[bool; 3]>(), prop::bool::weighted(0.1), sizes).prop_map(
        |(flags, head_only, (upload, download))| {
            let [chunked, interim, trailers] = flags;
            Exchange {
                head_only,
                upload,
                download,
                chunked,
                interim,
                trailers,
            }
        },
    )
}

/// The request of exchange `n`, tagged with its number.
fn request(n: usize, exchange: &Exchange) -> String {
    let method = if exchange.head_only { "HEAD" } else { "POST" };
    let body = "u".repeat(exchange.upload);
    if exchange.chunked && !exchange.head_only && !body.is_empty() {
        let size = body.len();
        format!("{method} /{n} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
    } else {
        format!(
            "{method} /{n} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// The response of exchange `n`, tagged with the same number.
fn response(n: usize, exchange: &Exchange) -> String {
    let interim = if exchange.interim {
        "HTTP/1.1 103 Early\r\n\r\n"
    } else {
        ""
    };
    let body = if exchange.head_only {
        String::new()
    } else {
        "d".repeat(exchange.download)
    };
    let head = format!("{interim}HTTP/1.1 200 OK\r\nTag: {n}\r\n");
    if !exchange.chunked || body.is_empty() {
        return format!(
            "{head}Content-Length: {}\r\n\r\n{body}",
            exchange.download * usize::from(!exchange.chunked)
        );
    }
    let trailers = if exchange.trailers { "Sum: 1\r\n" } else { "" };
    let (left, right) = body.split_at(body.len() / 2);
    let chunks: String = [left, right]
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| format!("{:x};e\r\n{part}\r\n", part.len()))
        .collect();
    format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n")
}

/// The conversation in batches: each batch of requests is sent as one, then answered.
fn conversation(exchanges: &[Exchange], batch: usize) -> Vec<Call> {
    let numbered: Vec<_> = exchanges.iter().enumerate().collect();
    numbered
        .chunks(batch)
        .flat_map(|batch| {
            let requests: String = batch.iter().map(|(n, exchange)| request(*n, exchange)).collect();
            let responses: String = batch.iter().map(|(n, exchange)| response(*n, exchange)).collect();
            [
                Call::Bytes(Side::Client, requests.into()),
                Call::Bytes(Side::Server, responses.into()),
            ]
        })
        .collect()
}

/// Cuts pieces out of a conversation: `(position, length)` in parts of a thousand and in bytes.
fn lossy(calls: Vec<Call>, holes: &[(u16, u16)]) -> Vec<Call> {
    let total: usize = calls
        .iter()
        .map(|call| {
            if let Call::Bytes(_, data) = call {
                data.len()
            } else {
                0
            }
        })
        .sum();
    let is_lost = |at: usize| {
        holes.iter().any(|(start, length)| {
            let start = usize::from(*start) * total / 1000;
            (start..start + usize::from(*length)).contains(&at)
        })
    };
    let (mut at, mut pieces) = (0, Vec::new());
    for call in calls {
        let Call::Bytes(side, data) = call else { continue };
        for byte in data {
            match (is_lost(at), pieces.last_mut()) {
                (true, Some(Call::Gap(last, length))) if *last == side => *length += 1,
                (true, _) => pieces.push(Call::Gap(side, 1)),
                (false, Some(Call::Bytes(last, piece))) if *last == side => piece.push(byte),
                (false, _) => pieces.push(Call::Bytes(side, vec![byte])),
            }
            at += 1;
        }
    }
    pieces
}

/// The tags of each request that got a response: (request, response).
fn pairs(events: &[Event]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut requests = HashMap::new();
    let mut pairs = Vec::new();
    for event in events {
        match event {
            Event::RequestHead { key, head, .. } => {
                requests.insert(*key, text(head.target.get(1..).unwrap_or_default()));
            }
            Event::ResponseHead { key, head, .. } => {
                pairs.push((requests[key].clone(), text(head.field("tag").unwrap_or_default())));
            }
            _ => {}
        }
    }
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// P-M5: arbitrary calls keep every rule.
    #[test]
    fn p_m5_any_input_keeps_the_rules(data in prop::collection::vec(any::<u8>(), 0..160)) {
        fuzz_body::run(&data);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whole traffic, split anyhow: every exchange is one complete transaction, its bytes all counted.
    #[test]
    fn p_m5_splits_change_nothing(
        exchanges in prop::collection::vec(exchange(), 1..8),
        batch in 1_usize..5,
        step in 1_usize..40,
    ) {
        let calls = conversation(&exchanges, batch);
        let (whole, result) = fuzz_body::play(&calls, false, usize::MAX);
        prop_assert_eq!(result, Ok(()));
        fuzz_body::check_order(&whole);
        let (split, _) = fuzz_body::play(&calls, false, step);
        prop_assert_eq!(fuzz_body::normalise(whole.clone()), fuzz_body::normalise(split));
        let tags: Vec<_> = (0..exchanges.len()).map(|n| (n.to_string(), n.to_string())).collect();
        prop_assert_eq!(pairs(&whole), tags);
        let (mut counted, mut complete) = (0, 0);
        for event in &whole {
            if let Event::End { outcome, request, response, .. } = event {
                counted += request.total() + response.total();
                complete += usize::from(*outcome == Outcome::Complete);
            }
        }
        let sent: usize = calls.iter().map(|call| if let Call::Bytes(_, data) = call { data.len() } else { 0 }).sum();
        prop_assert_eq!((counted as usize, complete), (sent, exchanges.len()), "P-T4");
    }

    /// Bytes go missing anywhere: what is paired is paired rightly, and everything ends.
    #[test]
    fn p_l2_gaps_never_mispair(
        exchanges in prop::collection::vec(exchange(), 1..14),
        batch in prop::sample::select(vec![1_usize, 1, 2, 3, 5]),
        holes in prop::collection::vec((0_u16..1000, prop_oneof![1_u16..40, 40_u16..900]), 1..5),
        step in 1_usize..64,
    ) {
        let calls = lossy(conversation(&exchanges, batch), &holes);
        let (events, result) = fuzz_body::play(&calls, false, usize::MAX);
        prop_assert_eq!(result, Ok(()));
        fuzz_body::check_order(&events);
        for (request, response) in pairs(&events) {
            prop_assert_eq!(request, response);
        }
        let (split, _) = fuzz_body::play(&calls, false, step);
        prop_assert_eq!(fuzz_body::normalise(events), fuzz_body::normalise(split));
    }
}

#[test]
fn p_d3_joined_at_any_byte_of_a_conversation_that_waits_pairs_rightly() {
    let exchange = |n: usize| Exchange {
        head_only: n % 5 == 4,
        upload: n % 3 * 7,
        download: 20 + n,
        chunked: n % 2 == 1,
        interim: n.is_multiple_of(4),
        trailers: true,
    };
    let exchanges: Vec<_> = (0..8).map(exchange).collect();
    let calls = conversation(&exchanges, 1);
    let total: usize = calls
        .iter()
        .map(|call| {
            if let Call::Bytes(_, data) = call {
                data.len()
            } else {
                0
            }
        })
        .sum();
    for start in 0..total {
        let mut skip = start;
        let rest: Vec<_> = calls
            .iter()
            .filter_map(|call| {
                let Call::Bytes(side, data) = call else {
                    return None;
                };
                let skipped = skip.min(data.len());
                skip -= skipped;
                (skipped < data.len()).then(|| Call::Bytes(*side, data[skipped..].to_vec()))
            })
            .collect();
        let (events, result) = fuzz_body::play(&rest, true, usize::MAX);
        assert_eq!(result, Ok(()), "{start}");
        fuzz_body::check_order(&events);
        let pairs = pairs(&events);
        assert!(
            pairs.iter().all(|(request, response)| request == response),
            "{start}: {pairs:?}"
        );
        let whole_requests_left = rest
            .iter()
            .filter(|call| matches!(call, Call::Bytes(Side::Client, _)))
            .count();
        assert!(
            pairs.len() + 2 >= whole_requests_left,
            "{start}: {} of {whole_requests_left}",
            pairs.len()
        );
    }
}

/// P-M4: what is announced is not allocated, what is hostile stays bounded.
#[test]
fn p_m4_hostile_bytes_stay_bounded() {
    let floods: [(&str, Side, &[u8]); 7] = [
        ("", Side::Client, b"x"),
        ("GET /", Side::Client, b"a"),
        ("GET / HTTP/1.1\r\n", Side::Client, b"A: b\r\n"),
        ("GET / HTTP/1.1\r\nA: ", Side::Client, b"c"),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            Side::Client,
            b"T: 1\r\n",
        ),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n", Side::Client, b"\x00"),
        ("", Side::Server, b"HTTP/1.1 200 OK\r\n"),
    ];
    for (start, side, flood) in floods {
        let (mut parser, mut out) = (Parser::new(Limits::default(), false), Vec::new());
        parser
            .bytes(Side::Client, Bytes::from(start), Time(1), &mut out)
            .unwrap();
        let piece = Bytes::from(flood.repeat(8192 / flood.len()));
        for _ in 0..300 {
            if parser.bytes(side, piece.clone(), Time(2), &mut out).is_err() {
                break;
            }
            assert!(
                parser.buffered(side) <= (1 << 20) + 8192,
                "{start:?}: {}",
                parser.buffered(side)
            );
            out.clear();
        }
    }
    let (mut parser, mut out) = (Parser::new(Limits::default(), false), Vec::new());
    let huge = "POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n";
    parser
        .bytes(Side::Client, huge.into(), Time(1), &mut out)
        .unwrap();
    assert_eq!(
        (parser.buffered(Side::Client), parser.skippable(Side::Client)),
        (0, u64::MAX)
    );
}

/// What `httparse` accepts is read alike here.
#[test]
fn httparse_agrees_on_strict_heads() {
    for wire in [
        "GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n",
        "PROPFIND /dav/ HTTP/1.0\r\nDepth:1\r\nX-Empty:\r\n\r\n",
        "POST http://a/b?c HTTP/1.1\r\nA:  spaced \t\r\na: again\r\n\r\n",
    ] {
        let mut storage = [httparse::EMPTY_HEADER; 16];
        let mut oracle = httparse::Request::new(&mut storage);
        assert!(oracle.parse(wire.as_bytes()).unwrap().is_complete());
        let (events, _) = fuzz_body::play(&[Call::Bytes(Side::Client, wire.into())], false, usize::MAX);
        let Some(Event::RequestHead { head, .. }) = events.first() else {
            panic!("a request")
        };
        assert_eq!(
            (&head.method[..], &head.target[..]),
            (oracle.method.unwrap().as_bytes(), oracle.path.unwrap().as_bytes())
        );
        let ours: Vec<_> = head
            .fields
            .iter()
            .map(|field| (&field.name[..], &field.value[..]))
            .collect();
        let theirs: Vec<_> = oracle
            .headers
            .iter()
            .map(|field| (field.name.as_bytes(), field.value))
            .collect();
        assert_eq!(ours, theirs);
    }
}
