//! Any split, any hole: the same messages, or fewer and said (P-M5, P-L2).

use bytes::Bytes;
use proptest::prelude::*;
use qtap_protocol::grpc::Dialect;
use qtap_protocol::http2::{Parser, Start};
use qtap_protocol::{Event, Limits, Parser as _, Side, Time};

use crate::fuzz_body::{self, Step};
use crate::support::{calls, message};
use crate::wire::*;

fn dialects() -> impl Strategy<Value = Dialect> {
    prop::sample::select(vec![Dialect::Native, Dialect::Web, Dialect::WebText])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..60_usize).prop_map(Step::Bytes),
        2 => (0..60_usize).prop_map(Step::Gap),
        1 => Just(Step::Doubt),
    ];
    prop::collection::vec(step, 0..20)
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..50);
    let one = (any::<bool>(), payload).prop_map(|(packed, payload)| message(u8::from(packed), &payload));
    prop::collection::vec(one, 0..12).prop_map(|all| all.concat())
}

/// Calls on one connection, each with so many messages up and down.
fn conversation(shape: &[(u8, u8)]) -> Vec<(Side, Vec<u8>)> {
    let (mut client, mut server) = (Encoder::new(), Encoder::new());
    let mut writes = vec![
        (Side::Client, [PREFACE, &settings(&[])].concat()),
        (Side::Server, settings(&[])),
    ];
    let mut heads = Vec::new();
    for (n, &(up, down)) in shape.iter().enumerate() {
        let id = 2 * u32::try_from(n).unwrap() + 1;
        let path = format!("/s.S/M{id}");
        let head = [
            &request("POST", &path)[..],
            &[("content-type", "application/grpc")],
        ]
        .concat();
        writes.push((Side::Client, client.headers(id, 0, &head)));
        for _ in 0..up % 5 {
            writes.push((Side::Client, data(id, 0, &message(0, &vec![up; usize::from(up)]))));
        }
        writes.push((Side::Client, data(id, END_STREAM, b"")));
        heads.push((id, down));
    }
    for &(id, _) in &heads {
        let head = [(":status", "200"), ("content-type", "application/grpc")];
        writes.push((Side::Server, server.headers(id, 0, &head)));
    }
    for round in 0..5 {
        for &(id, down) in heads.iter().filter(|(_, down)| down % 5 > round) {
            writes.push((
                Side::Server,
                data(id, 0, &message(0, &vec![down; usize::from(down)])),
            ));
        }
    }
    for (id, _) in heads {
        let code = (id % 17).to_string();
        writes.push((
            Side::Server,
            server.headers(id, END_STREAM, &[("grpc-status", &code)]),
        ));
    }
    writes
}

fn feed(writes: &[(Side, Vec<u8>)], cuts: &[usize], lost: &[usize]) -> Vec<Event> {
    let mut parser = Parser::new(Limits::default(), Start::Preface);
    let (mut events, mut cut, mut piece) = (Vec::new(), cuts.iter().cycle(), 0);
    for (n, (side, bytes)) in writes.iter().enumerate() {
        let time = Time(n as u64 + 1);
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            let next = rest.split_to((*cut.next().unwrap_or(&usize::MAX)).clamp(1, rest.len()));
            piece += 1;
            if lost.contains(&piece) {
                // Told in error only when the connection is given up, after which nothing more is said.
                let _ = parser.gap(*side, next.len() as u64, time, &mut events);
            } else {
                let _ = parser.bytes(*side, next, time, &mut events);
            }
        }
    }
    parser.close(Time(u64::MAX), &mut events);
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 1500 }))]

    #[test]
    fn arbitrary_scripts_keep_every_rule(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn messages_with_holes_are_never_counted_wrong(
        dialect in dialects(),
        body in messages(),
        trailers in any::<bool>(),
        piece in 1..60_usize,
        steps in steps(),
    ) {
        let mut body = body;
        if trailers && dialect != Dialect::Native {
            body.extend(message(0x80, b"grpc-status: 0\r\ngrpc-message: ok\r\n"));
        }
        if dialect == Dialect::WebText {
            body = fuzz_body::base64(&body, piece);
        }
        fuzz_body::check(dialect, &body, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 300 }))]

    /// On a whole connection with any cuts and losses: what does not say that it may be short is exact, and nothing is more than there is.
    #[test]
    fn lossy_connections_never_claim_messages_that_were_not_sent(
        shape in prop::collection::vec((any::<u8>(), any::<u8>()), 1..8),
        cuts in prop::collection::vec(1..300_usize, 1..20),
        lost in prop::collection::vec(2..150_usize, 0..8),
    ) {
        let writes = conversation(&shape);
        let told = calls(&feed(&writes, &cuts, &lost));
        for (id, one) in &told {
            let (up, down) = shape[usize::try_from(id / 2).unwrap()];
            for (side, byte) in one.call.messages.iter().zip([up, down]) {
                let (count, size) = (u64::from(byte % 5), u64::from(byte));
                prop_assert!(side.count <= count, "{one:?}");
                if side.lost.is_none() && !side.unfinished {
                    prop_assert_eq!((side.count, side.bytes), (count, count * size), "{:?}", one);
                }
            }
            if let Some(status) = one.status.as_ref().filter(|status| status.source.is_sent()) {
                prop_assert_eq!(u64::from(status.code.0), id % 17);
            }
        }
        if lost.is_empty() {
            prop_assert_eq!(told.len(), shape.len());
        }
    }
}
