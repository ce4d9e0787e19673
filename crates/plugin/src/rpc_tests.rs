//! What every plugin says of a call.

use std::sync::Arc;

use bytes::Bytes;
use qtap_config::{
    AccessLogs, CaptureFormat, HttpCapture, Level, LogFormat, Plugin as Settings, ReportUsage,
};
use qtap_engine::{Interest, Transaction};
use qtap_protocol::Outcome;
use serde_json::{Value, json};

use crate::Terminal;
use crate::plugin::Context;
use crate::registry;
use crate::testing::{Memory, agent, connection, exchange, field, grpc_call};

/// What a plugin makes of a call.
fn made(settings: &Settings, transaction: &Transaction) -> Arc<Memory> {
    let memory = Arc::new(Memory::default());
    let context = Context {
        agent: Arc::new(agent()),
        stores: memory.stores(),
        output: Arc::clone(&memory) as _,
        terminal: Terminal::piped(),
    };
    let (_, plugin) = registry::build(settings, &context, 1 << 20);
    assert_ne!(
        plugin.interest(&connection(), &transaction.request),
        Interest::None
    );
    plugin.transaction(&exchange(&connection(), transaction));
    memory
}

fn event(headers: &[&str], transaction: &Transaction) -> String {
    let headers = headers.iter().map(|name| (*name).to_owned()).collect();
    let memory = made(&Settings::ReportUsage(ReportUsage { headers }), transaction);
    let events = memory.events.lock().unwrap();
    assert_eq!(events.len(), 1);
    serde_json::to_string(&events[0]).unwrap()
}

fn captured(level: Level, format: CaptureFormat, transaction: &Transaction) -> (Vec<u8>, Value) {
    let settings = HttpCapture {
        level,
        format,
        object_store: Some(0),
    };
    let memory = made(&Settings::HttpCapture(settings), transaction);
    let artifact = memory.artifacts.lock().unwrap().remove(0);
    let kind = r#""kind":"grpc_transaction""#;
    assert!(artifact.provenance.contains(kind), "{}", artifact.provenance);
    (
        artifact.content.into_bytes(),
        serde_json::from_str(&artifact.summary).unwrap(),
    )
}

fn printed(mode: Level, format: LogFormat, transaction: &Transaction) -> String {
    let settings = AccessLogs { mode, format };
    made(&Settings::AccessLogs(settings), transaction)
        .printed()
        .concat()
}

const MESSAGES: &str = concat!(
    r#""messages":{"request":{"count":1,"bytes":3,"largest":3},"#,
    r#""response":{"count":2,"bytes":25,"largest":23,"compressed":1,"encoding":"gzip"}}"#,
);

#[test]
fn grpc_request_event() {
    let expected = [
        concat!(
            r#"{"type":"grpc_request","connectionId":"d3tsmvg7p3qggmf8pdi0","endpointId":"httpbin.org","requestId":"d3tsmvg7p3qggmf8pdj0","#,
            r#""tlsProbeTypesDetected":["openssl"],"tlsProbeIntrospected":true,"#,
            r#""tags":["bin:curl","host:box","ip:10.0.0.5","protocol:http1","strategy:observe","env:test"],"#,
            r#""timestamp":"2026-01-01T10:00:00.200000000Z","direction":"egress-external","#,
            r#""url":"https://httpbin.org/pkg.Shop/List","path":"/pkg.Shop/List","method":"POST","status":404,"duration":87,"#,
            r#""contentType":"application/grpc","category":"grpc","agent":"","bytesSent":80,"bytesReceived":132,"#,
            r#""authTokenMask":"","authTokenHash":"","authTokenSource":"","authTokenType":"","#,
            r#""headers":{"req.te":"trailers","res.Grpc-Status":"5"},"response_body_bytes":12,"#,
            r#""outcome":"complete","ttfb_ms":85.0,"total_ms":90.0,"#,
            r#""grpcService":"pkg.Shop","grpcMethod":"List","grpcStatus":"5","grpcStatusName":"NOT_FOUND","grpcMessage":"no such+shop","#,
            r#""call_type":"server_streaming","http_status":200,"grpc_status_source":"trailers","timeout_ms":1500.0,"#,
        ),
        MESSAGES,
        "}",
    ]
    .concat();
    assert_eq!(event(&["te", "Grpc-Status", "absent"], &grpc_call()), expected);
}

/// P-G2, P-G6: a status that was not sent is told apart; one that cannot be known is not made up.
#[test]
fn statuses_that_were_not_sent_say_where_they_are_from() {
    let mut silent = grpc_call();
    silent.response_half.trailers.clear();
    silent.outcome = Outcome::Incomplete;
    let mut late = grpc_call();
    late.response_half.trailers.clear();
    late.outcome = Outcome::Reset(8);
    late.request.fields.retain(|field| field.name != "grpc-timeout");
    late.request.fields.push(field("grpc-timeout", "90m"));
    let mut cancelled = late.clone();
    cancelled.request.fields.pop();
    let mut unanswered = late.clone();
    unanswered.response = None;
    for (call, status, name, shown, source, http) in [
        (&silent, "", "", 200, Value::Null, json!(200)),
        (
            &late,
            "4",
            "DEADLINE_EXCEEDED",
            504,
            json!("deadline"),
            json!(200),
        ),
        (&cancelled, "1", "CANCELLED", 499, json!("reset"), json!(200)),
        (
            &unanswered,
            "4",
            "DEADLINE_EXCEEDED",
            504,
            json!("deadline"),
            Value::Null,
        ),
    ] {
        let event: Value = serde_json::from_str(&event(&[], call)).unwrap();
        assert_eq!(event["grpcStatus"], status);
        assert_eq!(
            (&event["grpcStatusName"], &event["status"]),
            (&json!(name), &json!(shown))
        );
        assert_eq!(
            (&event["grpc_status_source"], &event["http_status"]),
            (&source, &http)
        );
        assert_eq!(event["grpc_status_unknown"] == true, status.is_empty());
        assert_eq!(event["status_unknown"], Value::Null, "{event}");
    }
}

/// P-G1
#[test]
fn details_are_told_by_their_presence() {
    let mut call = grpc_call();
    call.response_half
        .trailers
        .push(field("grpc-status-details-bin", "AAAA"));
    let event: Value = serde_json::from_str(&event(&[], &call)).unwrap();
    assert_eq!(event["grpc_status_details"], true);
}

#[test]
fn trailers_with_fields_unknown_are_said() {
    let mut call = grpc_call();
    call.response_half.trailers.clear();
    call.response_half.trailers_partial = true;
    let event: Value = serde_json::from_str(&event(&[], &call)).unwrap();
    assert_eq!(
        (&event["headers_partial"], &event["grpc_status_unknown"]),
        (&json!(true), &json!(true))
    );
}

/// P-G3, P-G4
#[test]
fn a_full_artifact_has_the_messages_one_by_one() {
    let (content, summary) = captured(Level::Full, CaptureFormat::Json, &grpc_call());
    let call: Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(
        (&call["service"], &call["method"]),
        (&json!("pkg.Shop"), &json!("List"))
    );
    assert_eq!(
        (
            &call["grpc_status"],
            &call["grpc_status_name"],
            &call["grpc_message"]
        ),
        (&json!("5"), &json!("NOT_FOUND"), &json!("no such+shop"))
    );
    let (request, response) = (&call["request"], &call["response"]);
    assert_eq!(request["method"], "POST");
    assert_eq!(request["messages"], json!([{"size": 3, "data": "YWJj"}]));
    assert_eq!(request["body"], "AAAAAANhYmM=");
    assert_eq!(
        response["messages"],
        json!([{"size": 2, "data": "aGk="}, {"size": 23, "compressed": true, "data": "YmVl"}])
    );
    assert_eq!(
        (&response["status"], &call["http_status"]),
        (&json!(404), &json!(200))
    );
    assert_eq!(response["headers"][":status"], "200");
    assert_eq!(response["trailers"]["grpc-message"], "no%20such+shop");
    assert_eq!(response["grpc_status_name"], "NOT_FOUND");
    for (key, expected) in [
        ("grpc_service", json!("pkg.Shop")),
        ("grpc_method", json!("List")),
        ("grpc_status", json!("5")),
        ("grpc_status_name", json!("NOT_FOUND")),
        ("duration_ms", json!(87)),
        ("request_path", json!("/pkg.Shop/List")),
    ] {
        assert_eq!(summary[key], expected, "{key}");
    }
}

#[test]
fn lower_levels_have_no_messages_and_no_bodies() {
    for level in [Level::Summary, Level::Headers] {
        let (content, _) = captured(level, CaptureFormat::Json, &grpc_call());
        let call: Value = serde_json::from_slice(&content).unwrap();
        for part in ["request", "response"] {
            assert_eq!(call[part].get("messages"), None);
            assert_eq!(call[part].get("body"), None);
            assert_eq!(call[part].get("headers").is_some(), level == Level::Headers);
        }
        assert_eq!(call["messages"]["response"]["count"], 2);
    }
}

#[test]
fn text_form_tells_messages_by_their_sizes() {
    let (content, _) = captured(Level::Full, CaptureFormat::Text, &grpc_call());
    let text = String::from_utf8(content).unwrap();
    assert!(
        text.starts_with("gRPC Transaction\n================\n\nMetadata:\n"),
        "{text}"
    );
    let rpc = "\nRPC:\n  Service: pkg.Shop\n  Method: List\n  Type: server_streaming\n  Status: NOT_FOUND (5)\n  \
               Message: no such+shop\n  Timeout: 1500ms\n  Request Messages: 1, 3 bytes\n  \
               Response Messages: 2, 25 bytes, 1 compressed (gzip)\n\nRequest:\n  Method: POST\n";
    assert!(text.contains(rpc), "{text}");
    assert!(!text.contains("Body:"), "{text}");
}

#[test]
fn access_log_lines() {
    assert_eq!(
        printed(Level::Summary, LogFormat::Console, &grpc_call()),
        " ■ curl → pkg.Shop/List NOT_FOUND\n"
    );
    let mut reset = grpc_call();
    reset.outcome = Outcome::Reset(8);
    reset.response_half.trailers.clear();
    assert_eq!(
        printed(Level::Summary, LogFormat::Console, &reset),
        " ■ curl → pkg.Shop/List CANCELLED [reset: CANCEL]\n"
    );
    let json: Value = serde_json::from_str(&printed(Level::Summary, LogFormat::Json, &grpc_call())).unwrap();
    for (key, expected) in [
        ("msg", json!("gRPC transaction")),
        ("bin", json!("/usr/bin/curl")),
        ("service", json!("pkg.Shop")),
        ("method", json!("List")),
        ("grpc_status", json!("5")),
        ("grpc_status_name", json!("NOT_FOUND")),
        ("grpc_message", json!("no such+shop")),
        ("request_id", json!("d3tsmvg7p3qggmf8pdj0")),
        ("call_type", json!("server_streaming")),
        ("outcome", json!("complete")),
    ] {
        assert_eq!(json[key], expected, "{key}");
    }
    let json: Value = serde_json::from_str(&printed(Level::Full, LogFormat::Json, &grpc_call())).unwrap();
    assert_eq!(json["meta"]["bytes_sent"], 80);
    assert_eq!(
        json["rpc"],
        json!({"service": "pkg.Shop", "method": "List", "status": "5", "status_name": "NOT_FOUND",
               "request_id": "d3tsmvg7p3qggmf8pdj0", "message": "no such+shop"})
    );
}

#[test]
fn access_log_box() {
    let shown = printed(Level::Full, LogFormat::Console, &grpc_call());
    let rpc = "│  Service  pkg.Shop\n│  Method   List\n│  Type     server_streaming\n│  Status   NOT_FOUND (5)\n\
               │  Message  no such+shop\n│  Timeout  1500 ms\n";
    assert!(shown.contains(rpc), "{shown}");
    assert!(shown.contains("│  2 messages, 25 B, 1 compressed\n"), "{shown}");
    assert!(shown.contains("│    • grpc-status: 5\n"), "{shown}");
}

/// What a peer sends cannot act on a terminal.
#[test]
fn names_and_messages_are_made_fit_for_a_terminal() {
    let mut call = grpc_call();
    call.request.target = Bytes::from_static(b"/pkg.\x1b[2J/\x9b");
    call.response_half.trailers = vec![field("grpc-status", "5"), field("grpc-message", "%1b[2J%0a")];
    for mode in [Level::Summary, Level::Full] {
        let shown = printed(mode, LogFormat::Console, &call);
        assert!(!shown.contains('\x1b'), "{shown:?}");
        let line = printed(mode, LogFormat::Json, &call);
        assert!(
            !line.contains('\x1b') && line.matches('\n').count() == 1,
            "{line:?}"
        );
    }
}
