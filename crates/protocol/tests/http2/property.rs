//! Split-invariance and loss on whole connections of tagged traffic (P-M5, P-L2).

use bytes::Bytes;
use proptest::prelude::*;
use qtap_protocol::http2::{Parser, Start};
use qtap_protocol::{Event, Limits, Outcome, Parser as _, Side, Time};

use super::wire::*;

/// A write of one side.
type Write = (Side, Vec<u8>);

/// A connection on which every head, body byte and trailer names its stream.
fn conversation(shape: &[(u8, u8, u8)]) -> Vec<Write> {
    let (mut client, mut server) = (Encoder::new(), Encoder::new());
    client.huffman = true;
    let mut writes = vec![
        (Side::Client, [PREFACE, &settings(&[])].concat()),
        (Side::Server, settings(&[])),
    ];
    let mut pending: Vec<(u32, u8)> = Vec::new();
    for (n, &(kind, size, order)) in shape.iter().enumerate() {
        let id = 2 * u32::try_from(n).unwrap() + 1;
        let (path, tag) = (format!("/{id}"), format!("{id}"));
        let fields = [
            &request(if kind & 1 == 0 { "GET" } else { "PUT" }, &path)[..],
            &[("x-tag", &tag)],
        ]
        .concat();
        if kind & 1 == 0 {
            writes.push((Side::Client, client.headers(id, END_STREAM, &fields)));
        } else {
            let mut wire = client.headers(id, 0, &fields);
            wire.extend(data(id, 0, &body(id, size)));
            let padded = [&[5][..], &body(id, size / 2), &[0; 5]].concat();
            wire.extend(data(
                id,
                PADDED | if kind & 2 == 0 { END_STREAM } else { 0 },
                &padded,
            ));
            if kind & 2 != 0 {
                wire.extend(client.headers(id, END_STREAM, &[("x-end", &tag)]));
            }
            writes.push((Side::Client, wire));
        }
        pending.push((id, size));
        if order & 1 == 0 {
            let pick = usize::from(order >> 1) % pending.len();
            let (id, size) = pending.remove(pick);
            writes.push((Side::Server, response(&mut server, id, size)));
        }
    }
    for (id, size) in pending {
        writes.push((Side::Server, response(&mut server, id, size)));
    }
    writes
}

fn response(server: &mut Encoder, id: u32, size: u8) -> Vec<u8> {
    let tag = id.to_string();
    let mut wire = Vec::new();
    if size.is_multiple_of(5) {
        wire.extend(server.headers(id, 0, &[(":status", "103")]));
    }
    wire.extend(server.headers(id, 0, &[(":status", "200"), ("x-tag", &tag)]));
    wire.extend(data(id, 0, &body(id, size)));
    wire.extend(frame(6, 0, 0, &[0; 8]));
    if size.is_multiple_of(3) {
        wire.extend(server.headers(id, END_STREAM, &[("x-end", &tag)]));
    } else {
        wire.extend(data(id, END_STREAM, &body(id, size / 3)));
    }
    wire
}

/// Bytes that all tell the stream.
fn body(id: u32, size: u8) -> Vec<u8> {
    vec![b'A' + u8::try_from(id / 2 % 26).unwrap(); usize::from(size) * 3 + 1]
}

fn shapes() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..12)
}

/// Feeds the writes cut at `cuts`; each write keeps its time. Pieces at `lost` become gaps.
fn feed(writes: &[Write], start: Start, cuts: &[usize], lost: &[usize]) -> Vec<Event> {
    let mut parser = Parser::new(Limits::default(), start);
    let (mut events, mut cut, mut piece) = (Vec::new(), cuts.iter().cycle(), 0);
    for (n, (side, bytes)) in writes.iter().enumerate() {
        let time = Time(n as u64 + 1);
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            let next = rest.split_to((*cut.next().unwrap_or(&usize::MAX)).clamp(1, rest.len()));
            piece += 1;
            if lost.contains(&piece) {
                parser.gap(*side, next.len() as u64, time, &mut events).unwrap();
            } else {
                parser.bytes(*side, next, time, &mut events).unwrap();
            }
        }
    }
    parser.close(Time(u64::MAX), &mut events);
    joined(&events)
}

/// Whatever was reported is of the stream it was reported for.
fn assert_unmixed(all: &[Seen]) {
    for seen in all {
        let id = u32::try_from(seen.id).unwrap();
        let tag = seen.id.to_string();
        let letter = body(id, 0)[0];
        let fields = seen
            .request
            .fields
            .iter()
            .chain(seen.response.iter().flat_map(|head| &head.fields));
        for field in fields {
            assert_eq!(
                (&field.name[..], &field.value[..]),
                (&b"x-tag"[..], tag.as_bytes())
            );
        }
        assert!(
            seen.path() == "*" || seen.path() == format!("/{id}"),
            "{} on {id}",
            seen.path()
        );
        assert!(seen.path() != "*" || seen.request.partial);
        assert!([None, Some(0), Some(200)].contains(&seen.status()));
        for side in [Side::Client, Side::Server] {
            assert!(
                seen.body[side.index()].iter().all(|&byte| byte == letter),
                "mixed bodies on {id}"
            );
            for (name, value) in &seen.trailers[side.index()] {
                assert_eq!((name.as_str(), value), ("x-end", &tag));
            }
        }
        assert!(seen.end.is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_split_yields_the_same_events(shape in shapes(), cuts in prop::collection::vec(1..40usize, 1..20)) {
        let writes = conversation(&shape);
        let whole = feed(&writes, Start::Preface, &[usize::MAX], &[]);
        prop_assert_eq!(&feed(&writes, Start::Preface, &cuts, &[]), &whole);
        prop_assert_eq!(&feed(&writes, Start::Preface, &[1], &[]), &whole);
        let all = seen(&whole);
        assert_unmixed(&all);
        prop_assert_eq!(all.len(), shape.len());
        for (seen, &(kind, size, _)) in all.iter().zip(&shape) {
            prop_assert_eq!(seen.outcome(), Some(Outcome::Complete));
            prop_assert!(!seen.request.partial && seen.response.as_ref().is_some_and(|head| !head.partial));
            let id = u32::try_from(seen.id).unwrap();
            let uploaded = if kind & 1 == 0 { 0 } else { body(id, size).len() + body(id, size / 2).len() };
            prop_assert_eq!(seen.body[0].len(), uploaded);
            prop_assert_eq!(seen.interim.len(), usize::from(size % 5 == 0));
        }
    }

    #[test]
    fn gaps_never_mix_streams_nor_misattribute_heads(
        shape in shapes(),
        cuts in prop::collection::vec(1..400usize, 1..20),
        lost in prop::collection::vec(2..120usize, 1..12),
    ) {
        let writes = conversation(&shape);
        let complete = seen(&feed(&writes, Start::Preface, &[usize::MAX], &[]));
        let all = seen(&feed(&writes, Start::Preface, &cuts, &lost));
        assert_unmixed(&all);
        // What claims to be complete and without gaps is what it would have been without loss.
        for seen in all.iter().filter(|seen| seen.outcome() == Some(Outcome::Complete) && seen.gaps == [0, 0]) {
            let original = complete.iter().find(|other| other.id == seen.id).unwrap();
            prop_assert_eq!(&seen.body, &original.body);
            if !seen.request.partial && seen.response.as_ref().is_some_and(|head| !head.partial) {
                prop_assert_eq!(&seen.request, &original.request);
                prop_assert_eq!(&seen.response, &original.response);
                let (was, is) = (original.end.unwrap(), seen.end.unwrap());
                prop_assert_eq!((was.1.body_bytes, was.2.body_bytes), (is.1.body_bytes, is.2.body_bytes));
            }
        }
    }

    #[test]
    fn attach_anywhere_reports_only_what_is_so(
        shape in shapes(),
        skip in 1..12usize,
        inside in 0..200usize,
        cuts in prop::collection::vec(1..600usize, 1..20),
    ) {
        let mut writes = conversation(&shape);
        writes.drain(..skip.min(writes.len()));
        if let Some((_, first)) = writes.first_mut() {
            first.drain(..inside.min(first.len()));
        }
        assert_unmixed(&seen(&feed(&writes, Start::Midstream, &cuts, &[])));
        assert_unmixed(&seen(&feed(&writes, Start::Midstream, &[usize::MAX], &[])));
    }
}
