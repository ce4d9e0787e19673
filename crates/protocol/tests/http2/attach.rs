//! Attach in mid-connection (`protocols.md` 4.4).

use qtap_protocol::http2::Start;
use qtap_protocol::{Event, Outcome, Parser as _, Side};

use super::wire::*;

/// A connection on which one exchange went by before the attach.
fn joined_late() -> (Tap, Encoder, Encoder) {
    let (mut client, mut server) = (Encoder::new(), Encoder::new());
    client.get(1, "/before");
    server.headers(1, END_STREAM, &[(":status", "200"), ("server", "s/1")]);
    (Tap::new(Start::Midstream), client, server)
}

#[test]
fn the_next_request_is_seen_though_it_is_one_frame() {
    let (mut tap, mut client, mut server) = joined_late();
    tap.client(&client.get(3, "/after"));
    tap.server(&server.headers(3, END_STREAM, &[(":status", "200"), ("server", "s/1")]));
    let seen = tap.stream(3);
    assert_eq!((seen.path(), seen.status()), ("/after".into(), Some(200)));
    assert_eq!(seen.outcome(), Some(Outcome::Complete));
    assert!(
        !tap.events
            .iter()
            .any(|event| matches!(event, Event::Resync { .. })),
        "nothing was passed over"
    );
}

/// Entries from before the attach are unknown and left out; those inserted since resolve exactly.
#[test]
fn entries_since_attach_resolve_and_older_ones_are_left_out() {
    let (mut tap, mut client, mut server) = joined_late();
    let old = [&request("GET", "/before")[..], &[("x-new", "learned")]].concat();
    tap.client(&client.headers(3, END_STREAM, &old));
    tap.client(&client.headers(5, END_STREAM, &old));
    tap.server(&server.headers(3, 0, &[(":status", "302"), ("server", "s/1")]));
    tap.server(&server.headers(5, 0, &[(":status", "302"), ("server", "s/1")]));
    for id in [3, 5] {
        let seen = tap.stream(id);
        assert!(seen.request.partial);
        assert_eq!((seen.path(), &seen.request.method[..]), ("*".into(), &b"GET"[..]));
        assert_eq!(seen.request.authority, None);
        assert_eq!(seen.request.field("x-new"), Some(&b"learned"[..]));
        let response = seen.response.unwrap();
        assert_eq!(response.status, 302, "literal, then a reference to it");
        assert_eq!(response.field("server"), None);
        assert!(response.partial);
    }
}

#[test]
fn unknown_status_is_0_and_unknown_method_empty() {
    let (mut client, mut server) = (Encoder::new(), Encoder::new());
    let put = request("PUT", "/x");
    client.headers(1, END_STREAM, &put);
    server.headers(1, END_STREAM, &[(":status", "201")]);
    let mut tap = Tap::new(Start::Midstream);
    tap.client(&client.headers(3, END_STREAM, &put));
    tap.server(&server.headers(3, END_STREAM, &[(":status", "201")]));
    let seen = tap.stream(3);
    assert_eq!(
        (&seen.request.method[..], seen.path(), seen.status()),
        (&b""[..], "*".into(), Some(0))
    );
    assert_eq!(seen.outcome(), Some(Outcome::Complete));
}

#[test]
fn frames_are_found_after_the_rest_of_a_body() {
    let (mut tap, mut client, mut server) = joined_late();
    let upload = data(3, 0, &[b'u'; 5000]);
    tap.client(&upload[2000..]);
    tap.client(&data(3, END_STREAM, b"end"));
    tap.client(&client.get(5, "/five"));
    tap.server(&server.headers(3, 0, &[(":status", "200")]));
    tap.server(&data(3, END_STREAM, b"to the upload"));
    tap.server(&server.headers(5, END_STREAM, &[(":status", "200")]));
    let all = tap.streams();
    assert_eq!(all.len(), 1, "a request begun before the attach is dropped");
    assert_eq!(
        (all[0].path(), all[0].outcome()),
        ("/five".into(), Some(Outcome::Complete))
    );
    assert_eq!(tap.orphans(), 1);
    let passed_over = upload.len() - 2000;
    assert!(tap.events.iter().any(|event| {
        matches!(event, Event::Resync { side: Side::Client, dropped, .. } if *dropped == passed_over as u64)
    }));
}

#[test]
fn trailers_of_a_half_seen_request_make_no_request() {
    let (mut tap, mut client, _) = joined_late();
    tap.client(&client.headers(3, END_STREAM, &[("checksum", "1")]));
    tap.client(&client.get(5, "/five"));
    assert_eq!(
        tap.streams().iter().map(Seen::path).collect::<Vec<_>>(),
        ["/five"]
    );
}

#[test]
fn response_without_request_is_counted_once() {
    let (mut tap, _, mut server) = joined_late();
    tap.server(&server.headers(3, 0, &[(":status", "200")]));
    tap.server(&data(3, 0, b"body"));
    tap.server(&server.headers(3, END_STREAM, &[("grpc-status", "0")]));
    assert_eq!((tap.orphans(), tap.streams().len()), (1, 0));
}

/// A download larger than anything held, with frames as large as peers may agree on.
#[test]
fn attach_inside_a_large_download() {
    let (mut tap, mut client, mut server) = joined_late();
    let download = [
        data(3, 0, &vec![b'd'; 1 << 19]).repeat(8),
        data(3, END_STREAM, b""),
    ]
    .concat();
    for piece in download[12_345..].chunks(16_384) {
        tap.server(piece);
        assert!(tap.parser.buffered(Side::Server) < 300 << 10);
    }
    tap.client(&client.get(5, "/five"));
    tap.server(&server.headers(5, END_STREAM, &[(":status", "200")]));
    assert_eq!(tap.stream(5).outcome(), Some(Outcome::Complete));
}

#[test]
fn three_failed_resyncs_end_the_parser() {
    let mut tap = Tap::open();
    let mut result = Ok(());
    for _ in 0..10 {
        // A chain that looks right, then nonsense.
        let chain = frame(6, 0, 0, &[0; 8]).repeat(4);
        result = tap.try_bytes(
            Side::Client,
            &[chain, b"no frame at all, just text".to_vec()].concat(),
        );
        if result.is_err() {
            break;
        }
    }
    assert!(matches!(
        result,
        Err(qtap_protocol::ParseError::Fatal {
            protocol: "http2",
            ..
        })
    ));
    assert!(tap.try_bytes(Side::Server, b"x").is_err(), "and it stays ended");
}
