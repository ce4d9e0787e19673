//! Many streams, large heads, long waits.

use qtap_protocol::http2::{Parser, Start};
use qtap_protocol::{Limits, Outcome, Parser as _, Side, Time};

use super::wire::*;

/// P-L3: event streams and gRPC may rest, others may not.
#[test]
fn idle_transactions_expire_but_streaming_ones_stay() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/idle"));
    tap.client(&client.get(3, "/events"));
    tap.server(&server.headers(3, 0, &[(":status", "200"), ("content-type", "text/event-stream")]));
    let grpc = [
        &request("POST", "/s/m")[..],
        &[("content-type", "application/grpc+proto")],
    ]
    .concat();
    tap.client(&client.headers(5, 0, &grpc));
    tap.client(&client.get(7, "/young"));
    let before = Time(tap.now);
    tap.parser.expire(before, &mut tap.events);
    let outcomes = [1, 3, 5, 7].map(|id| tap.stream(id).outcome());
    assert_eq!(outcomes, [Some(Outcome::Timeout), None, None, None]);
}

#[test]
fn two_hundred_concurrent_streams_keep_their_bodies_apart() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    let ids = || (0..200u32).map(|n| 2 * n + 1);
    for id in ids() {
        tap.client(&client.headers(id, 0, &request("POST", &format!("/{id}"))));
    }
    for round in 0..3 {
        let last = if round == 2 { END_STREAM } else { 0 };
        for id in ids() {
            tap.client(&data(id, last, format!("q{id}.{round} ").as_bytes()));
        }
        for id in ids().rev() {
            if round == 0 {
                tap.server(&server.headers(id, 0, &[(":status", "200"), ("x-id", &id.to_string())]));
            }
            tap.server(&data(id, last, format!("a{id}.{round} ").as_bytes()));
        }
    }
    let all = tap.streams();
    assert_eq!(all.len(), 200);
    for seen in all {
        let id = seen.id;
        assert_eq!(seen.path(), format!("/{id}"));
        assert_eq!(
            text(seen.response.as_ref().unwrap().field("x-id")),
            id.to_string()
        );
        assert_eq!(seen.body_text(Side::Client), format!("q{id}.0 q{id}.1 q{id}.2 "));
        assert_eq!(seen.body_text(Side::Server), format!("a{id}.0 a{id}.1 a{id}.2 "));
        assert_eq!(seen.outcome(), Some(Outcome::Complete));
    }
}

#[test]
fn more_streams_than_allowed_end_the_oldest() {
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    tap.parser = Parser::new(limits, Start::Preface);
    tap.client(&[PREFACE, &settings(&[])].concat());
    for id in [1, 3, 5] {
        tap.client(&client.get(id, "/"));
    }
    assert_eq!(
        [1, 3, 5].map(|id| tap.stream(id).outcome()),
        [Some(Outcome::Incomplete), None, None]
    );
}

/// P-M4, `protocols.md` §15: what is kept of a list is bounded, the table is followed all the same.
#[test]
fn header_list_beyond_the_limit_is_cut_but_the_table_goes_on() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    let big = "x".repeat(3000);
    let mut fields = request("GET", "/big").to_vec();
    fields.extend(std::iter::repeat_n(("x-big", &big[..]), 100));
    fields.push(("x-last", "inserted"));
    tap.client(&client.headers(1, END_STREAM, &fields));
    assert!(tap.stream(1).request.truncated);
    let kept: usize = tap
        .stream(1)
        .request
        .fields
        .iter()
        .map(|field| field.name.len() + field.value.len())
        .sum();
    assert!((200_000..=256 << 10).contains(&kept), "{kept}");
    tap.client(&client.headers(
        3,
        END_STREAM,
        &[(":method", "GET"), (":path", "/"), ("x-last", "inserted")],
    ));
    assert_eq!(text(tap.stream(3).request.field("x-last")), "inserted");
    assert!(!tap.stream(3).request.partial && !tap.stream(3).request.truncated);
}
