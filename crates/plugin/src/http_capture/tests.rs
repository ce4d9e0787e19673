use std::sync::Arc;

use proptest::prelude::*;
use qtap_protocol::{Field, Outcome, Upgrade};

use super::*;
use crate::testing::{
    Kept, Memory, agent, connection, event_stream, exchange, transaction, websocket, without_response,
};

fn capture(level: Level, format: CaptureFormat, transaction: &qtap_engine::Transaction) -> Kept {
    let memory = Arc::new(Memory::default());
    let context = Context {
        agent: Arc::new(agent()),
        stores: memory.stores(),
        output: Arc::clone(&memory) as _,
        terminal: crate::Terminal::piped(),
    };
    let settings = Settings {
        level,
        format,
        object_store: Some(0),
    };
    let plugin = HttpCapture::new(&settings, &context, 1 << 20);
    plugin.transaction(&exchange(&connection(), transaction));
    memory.artifacts.lock().unwrap().remove(0)
}

fn json(level: Level, transaction: &qtap_engine::Transaction) -> String {
    capture(level, CaptureFormat::Json, transaction).content
}

const METADATA: &str = concat!(
    r#"{"metadata":{"process_id":"4242","process_exe":"/usr/bin/curl","bytes_sent":80,"bytes_received":132,"#,
    r#""request_id":"d3tsmvg7p3qggmf8pdj0","connection_id":"d3tsmvg7p3qggmf8pdi0","endpoint_id":"httpbin.org","#,
    r#""tags":["bin:curl","host:box","ip:10.0.0.5","protocol:http1","strategy:observe","env:test"]},"#,
    r#""request":{"method":"GET","url":"https://httpbin.org/get?a=1","scheme":"https","path":"/get?a=1","#,
    r#""authority":"httpbin.org","protocol":"http1","request_id":"d3tsmvg7p3qggmf8pdj0","user_agent":"curl/7.88.1""#,
);

#[test]
fn summary_has_no_headers_and_no_bodies() {
    assert_eq!(json(Level::Summary, &transaction()), [METADATA, concat!(
        r#"},"response":{"status":200,"content_type":"application/json"},"#,
        r#""transaction_time":"2026-01-01T10:00:00.100000000Z","duration_ms":87,"direction":"egress-external","#,
        r#""outcome":"complete","ttfb_ms":85.0,"total_ms":90.0}"#,
    )].concat());
}

#[test]
fn full_has_headers_in_order_and_bodies_in_base64() {
    assert_eq!(json(Level::Full, &transaction()), [METADATA, concat!(
        r#","headers":{":method":"GET",":scheme":"https",":authority":"httpbin.org",":path":"/get?a=1","#,
        r#""Host":"httpbin.org","User-Agent":"curl/7.88.1","Accept":"*/*"}},"#,
        r#""response":{"status":200,"content_type":"application/json","#,
        r#""headers":{":status":"200","Content-Type":"application/json","Set-Cookie":["a=1","b=2"]},"#,
        r#""body":"eyJvayI6IHRydWV9","body_size_total":12},"#,
        r#""transaction_time":"2026-01-01T10:00:00.100000000Z","duration_ms":87,"direction":"egress-external","#,
        r#""outcome":"complete","ttfb_ms":85.0,"total_ms":90.0}"#,
    )].concat());
}

#[test]
fn headers_level_leaves_out_bodies_that_another_plugin_asked_for() {
    let json: serde_json::Value = serde_json::from_str(&json(Level::Headers, &transaction())).unwrap();
    assert_eq!(json["response"].get("body"), None);
    assert!(json["response"]["headers"].is_object());
}

/// P-L7
#[test]
fn what_is_missing_is_said() {
    let mut broken = transaction();
    broken.outcome = qtap_protocol::Outcome::Incomplete;
    broken.response_half.counts.gap_bytes = 12;
    broken.response_half.body.truncated = true;
    broken.response_half.body.total = 4096;
    broken.response_half.body.encoding = Some("gzip".into());
    broken.response_half.body.decode_error = Some("bad header".into());
    broken.request.partial = true;
    broken.interim = vec![100];
    let json: serde_json::Value = serde_json::from_str(&json(Level::Full, &broken)).unwrap();
    for (pointer, expected) in [
        ("/outcome", serde_json::json!("incomplete")),
        ("/incomplete", true.into()),
        ("/gap_bytes", 12.into()),
        ("/headers_partial", true.into()),
        ("/interim", serde_json::json!([100])),
        ("/response/body_truncated", true.into()),
        ("/response/body_size_total", 4096.into()),
        ("/response/body_encoding", "gzip".into()),
        ("/response/decode_error", "bad header".into()),
    ] {
        assert_eq!(json.pointer(pointer), Some(&expected), "{pointer}");
    }
}

#[test]
fn without_response_the_status_is_422_and_marked_unknown() {
    let json: serde_json::Value = serde_json::from_str(&json(Level::Summary, &without_response())).unwrap();
    assert_eq!(json["response"]["status"], 422);
    assert_eq!(json["status_unknown"], true);
    assert_eq!(json["outcome"], "canceled");
    assert_eq!(json.get("duration_ms"), None);
}

#[test]
fn artifact_carries_what_it_is_found_by() {
    let artifact = capture(Level::Summary, CaptureFormat::Json, &transaction());
    assert_eq!(artifact.mime_type, "application/json");
    assert_eq!(
        artifact.digest,
        hex::encode(ring::digest::digest(
            &ring::digest::SHA256,
            artifact.content.as_bytes()
        ))
    );
    assert_eq!(
        artifact.provenance,
        concat!(
            r#""kind":"http_transaction","connectionId":"d3tsmvg7p3qggmf8pdi0","endpointId":"httpbin.org","#,
            r#""requestId":"d3tsmvg7p3qggmf8pdj0","#,
            r#""tags":["bin:curl","host:box","ip:10.0.0.5","protocol:http1","strategy:observe","env:test"],"#,
            r#""timestamp":"2026-01-01T10:00:00.200000000Z""#,
        )
    );
    assert_eq!(
        artifact.summary,
        concat!(
            r#"{"duration_ms":87,"direction":"egress-external","process_exe":"/usr/bin/curl","#,
            r#""request_id":"d3tsmvg7p3qggmf8pdj0","connection_id":"d3tsmvg7p3qggmf8pdi0","request_method":"GET","#,
            r#""request_scheme":"https","request_host":"httpbin.org","request_path":"/get?a=1","request_protocol":"http1","#,
            r#""response_status":200,"response_content_type":"application/json"}"#,
        )
    );
}

#[test]
fn text_form() {
    let artifact = capture(Level::Full, CaptureFormat::Text, &transaction());
    assert_eq!(artifact.mime_type, "text/plain");
    assert_eq!(
        artifact.content,
        "\
HTTP Transaction
================

Metadata:
  Transaction Time: 2026-01-01T10:00:00.100000000Z
  Duration: 87ms
  Direction: egress-external
  Request ID: d3tsmvg7p3qggmf8pdj0
  Connection ID: d3tsmvg7p3qggmf8pdi0
  Process ID: 4242
  Process: /usr/bin/curl
  Bytes Sent: 80
  Bytes Received: 132
  Tags: bin:curl, host:box, ip:10.0.0.5, protocol:http1, strategy:observe, env:test
  Outcome: complete

Request:
  Method: GET
  URL: https://httpbin.org/get?a=1
  Headers:
    :method: GET
    :scheme: https
    :authority: httpbin.org
    :path: /get?a=1
    Host: httpbin.org
    User-Agent: curl/7.88.1
    Accept: */*

Response:
  Status: 200
  Content-Type: application/json
  Headers:
    :status: 200
    Content-Type: application/json
    Set-Cookie: a=1
    Set-Cookie: b=2
  Body:
{\"ok\": true}
"
    );
}

#[test]
fn a_disabled_store_makes_no_work() {
    let memory = Arc::new(Memory::default());
    let context = Context {
        agent: Arc::new(agent()),
        stores: memory.stores(),
        output: Arc::clone(&memory) as _,
        terminal: crate::Terminal::piped(),
    };
    let disabled = Settings {
        level: Level::Full,
        format: CaptureFormat::Json,
        object_store: None,
    };
    let plugin = HttpCapture::new(&disabled, &context, 10);
    assert_eq!(
        plugin.interest(&connection(), &transaction().request),
        Interest::None
    );
}

#[test]
fn messages_are_captured_at_level_full_and_counted_at_every_level() {
    let mut socket = websocket();
    socket.request_half.first_byte = Some(qtap_protocol::Time(1_000_000_000));
    let full = json(Level::Full, &socket);
    let expected = concat!(
        r#""captured_messages":[{"time":"2026-01-01T10:00:00.200000000Z","direction":"sent","opcode":"text","length":5,"payload":"hello"},"#,
        r#"{"time":"2026-01-01T10:00:00.250000000Z","direction":"received","opcode":"binary","length":2,"payload_base64":"/wA="},"#,
        r#"{"time":"2026-01-01T10:00:00.260000000Z","direction":"sent","opcode":"close","length":6,"close_code":1000,"close_reason":"done"},"#,
        r#"{"time":"2026-01-01T10:00:00.270000000Z","direction":"received","opcode":"close","length":2,"close_code":1000}]}"#,
    );
    assert!(full.ends_with(expected), "{full}");
    let headers = json(Level::Headers, &socket);
    assert!(!headers.contains("captured_messages") && headers.contains(r#""messages":{"request":"#));
}

#[test]
fn events_are_captured_and_what_was_left_out_is_said() {
    let full: serde_json::Value = serde_json::from_str(&json(Level::Full, &event_stream())).unwrap();
    let event = &full["captured_events"][0];
    assert_eq!(
        (&event["event"], &event["id"], &event["data"], &event["length"]),
        (&"tick".into(), &"7".into(), &r#"{"n":1}"#.into(), &7.into())
    );
    assert_eq!(full["not_captured"], 3);
    let text = capture(Level::Full, CaptureFormat::Text, &event_stream());
    let text = text.content;
    assert!(
        text.contains("tick 7 B: {\"n\":1}") && text.contains("Not Captured: 3"),
        "{text}"
    );
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    let names = prop_oneof![
        Just(b"Set-Cookie".to_vec()),
        Just(b"set-cookie".to_vec()),
        Just(b":status".to_vec()),
        Just(b"a\xff".to_vec()),
        Just(b"a\xfe".to_vec()),
        "[a-zA-Z-]{0,12}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    let field = (names, proptest::collection::vec(any::<u8>(), 0..24));
    let field = field.prop_map(|(name, value)| Field {
        name: name.into(),
        value: value.into(),
    });
    proptest::collection::vec(field, 0..12)
}

prop_compose! {
    fn any_transaction()(
        [request, response, trailers] in [fields(), fields(), fields()],
        target in "(/|[*]|https?://|)[ -~]{0,10}",
        method in prop_oneof![Just("GET"), Just("CONNECT"), Just("")],
        authority in proptest::option::of("[a-z\"]{0,5}"),
        outcome in prop_oneof![Just(Outcome::Complete), Just(Outcome::Incomplete), Just(Outcome::Reset(8))],
        (status, interim) in (0..600_u16, proptest::collection::vec(100..200_u16, 0..3)),
        (gap_bytes, total, head_end) in (0..3_u64, 0..3_u64, proptest::option::of(any::<u64>())),
        (answered, truncated, coded, aborted) in any::<(bool, bool, bool, bool)>(),
        upgraded_to in proptest::option::of("[a-z\"]{0,5}"),
    ) -> qtap_engine::Transaction {
        let mut made = if answered { transaction() } else { without_response() };
        made.request.fields = request;
        made.request.target = target.into();
        made.request.method = method.into();
        made.request.authority = authority.map(Into::into);
        made.request.truncated = truncated;
        if let Some(head) = &mut made.response {
            (head.status, head.fields) = (status, response);
        }
        made.response_half.trailers = trailers;
        made.response_half.head_end = head_end.map(qtap_protocol::Time);
        made.response_half.counts.gap_bytes = gap_bytes;
        made.response_half.body.truncated = truncated;
        made.response_half.body.total = total;
        made.response_half.body.gap_bytes = gap_bytes;
        made.response_half.body.encoding = coded.then(|| "gzip\"".to_owned());
        made.response_half.body.decode_error = coded.then(|| "bad".to_owned());
        made.upgraded_to = upgraded_to.map(Upgrade::Other);
        made.interim = interim;
        (made.request_half.ended, made.response_half.ended) = (!aborted, true);
        made.outcome = outcome;
        made
    }
}

proptest! {
    #[test]
    fn json_is_what_the_schema_serialises_to(made in any_transaction()) {
        for level in [Level::Summary, Level::Headers, Level::Full] {
            let connection = connection();
            let exchange = exchange(&connection, &made);
            let reference = crate::json::to_vec(&json::transaction(&exchange, level)).unwrap();
            prop_assert_eq!(json(level, &made), String::from_utf8(reference).unwrap());
        }
    }
}
