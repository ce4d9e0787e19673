//! Expectations that many tests share.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Agent, Capture, Events, Side, Truth, hex_sha256};

/// Whether TLS was spoken, for the steps that apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Cleartext.
    Plain,
    /// TLS.
    Tls,
}

/// The one element of a slice.
pub fn one<T: std::fmt::Debug>(items: &[T]) -> &T {
    match items {
        [item] => item,
        other => panic!("one expected, {} there: {other:#?}", other.len()),
    }
}

/// The one connection of a process, with its one request and its one artifact.
#[must_use]
pub fn single(events: &Events, pid: u32) -> Capture {
    whole_single(&events.of_pid(pid), &format!("process {pid}"))
}

/// As [`single`], for the one connection to a port as `side` sees it.
#[must_use]
pub fn single_on_port(events: &Events, port: u16, side: Side) -> Capture {
    whole_single(&events.of_port(port, side), &format!("port {port}, {side:?}"))
}

fn whole_single(captures: &[Capture], what: &str) -> Capture {
    assert_eq!(captures.len(), 1, "connections of {what}: {captures:#?}");
    let capture = &captures[0];
    assert_eq!(capture.requests.len(), 1, "requests of {what}: {capture:#?}");
    assert_eq!(capture.transactions.len(), 1, "artifacts of {what}: {capture:#?}");
    let (request, transaction) = (&capture.requests[0], &capture.transactions[0]);
    assert_eq!(
        request["requestId"], transaction["request"]["request_id"],
        "{what}"
    );
    assert_eq!(request["outcome"], transaction["outcome"], "{what}");
    capture.clone()
}

/// Waits until both ends of `count` connections to `port` are over.
pub fn wait_for_both_ends(agent: &Agent, port: u16, count: usize) {
    agent.wait_for(
        &format!("both ends of {count} connections to port {port}"),
        Duration::from_secs(20),
        |events| {
            let ends = |side| events.of_port(port, side).len();
            ends(Side::Client) >= count && ends(Side::Server) >= count
        },
    );
}

/// Method, target, every header field, both bodies and all byte counts are what the Python server says.
pub fn assert_truth(transaction: &Value, truth: &Truth, side: Side) {
    assert_complete(
        transaction,
        truth.text("request_body_sha256"),
        truth.text("response_body_sha256"),
    );
    let (request, response) = (&transaction["request"], &transaction["response"]);
    assert_eq!(request["method"], truth.0["method"]);
    assert_eq!(request["path"], truth.0["target"]);
    assert_eq!(headers_of(request), header_lists(&truth.0["request_headers"]));
    assert_eq!(response["status"], truth.0["status"]);
    assert_eq!(headers_of(response), header_lists(&truth.0["response_headers"]));
    let interim = if transaction["interim"].is_null() {
        json!([])
    } else {
        transaction["interim"].clone()
    };
    assert_eq!(interim, truth.0["interim"]);
    let (sent, received) = match side {
        Side::Client => ("request_bytes", "response_bytes"),
        Side::Server => ("response_bytes", "request_bytes"),
    };
    assert_eq!(
        transaction["metadata"]["bytes_sent"],
        truth.0[sent],
        "{}",
        outline(transaction)
    );
    assert_eq!(
        transaction["metadata"]["bytes_received"],
        truth.0[received],
        "{}",
        outline(transaction)
    );
}

/// Every step of the checklist is `ok` (or does not apply), nothing is missing, and the byte counts are the kernel's.
pub fn assert_healthy(capture: &Capture, transport: Transport) {
    let health = &capture.connection["health"];
    let tls = if transport == Transport::Tls { "ok" } else { "n/a" };
    let expected = json!({
        "socket": "ok", "process": "ok", "tls_hello": tls, "tls_probe": tls,
        "protocol": "ok", "data": "ok", "bytes": "ok", "transactions": "ok",
    });
    let connection = &capture.connection;
    assert_eq!(health["checks"], expected, "{connection:#}");
    assert_eq!(health["status"], "healthy", "{connection:#}");
    assert_eq!(health["reasons"], json!([]), "{connection:#}");
    assert_eq!(health["gapBytes"], 0, "{connection:#}");
    assert_sums(capture);
    assert_eq!(
        health["socketBytesSent"], health["capturedBytesSent"],
        "{connection:#}"
    );
    assert_eq!(
        health["gotTLSClientHelloEvent"],
        transport == Transport::Tls,
        "{connection:#}"
    );
    assert_eq!(health["gotProtocolEvent"], true, "{connection:#}");
    let introspected = connection["meta"]["tlsProbeIntrospected"] == true;
    assert_eq!(introspected, transport == Transport::Tls, "{connection:#}");
}

/// What was captured, what is missing and what the process never read add up to the kernel's own counts, and so do the counts
/// of the event.
pub fn assert_sums(capture: &Capture) {
    let connection = &capture.connection;
    let health = &connection["health"];
    let number = |value: &Value| {
        value
            .as_u64()
            .unwrap_or_else(|| panic!("a count is missing: {connection:#}"))
    };
    let (sent, received) = (
        number(&health["socketBytesSent"]),
        number(&health["socketBytesReceived"]),
    );
    let unread = number(&health["socketBytesUnread"]);
    let captured = number(&health["capturedBytesSent"]) + number(&health["capturedBytesReceived"]);
    // Left out when there are none.
    let told = |key: &str| connection[key].as_u64().unwrap_or(0);
    assert_eq!(told("bytesSent"), sent, "{connection:#}");
    assert_eq!(told("bytesReceived") + unread, received, "{connection:#}");
    assert_eq!(
        captured + number(&health["gapBytes"]) + unread,
        sent + received,
        "{connection:#}"
    );
}

/// A transaction that ended whole, whose bodies (`None`: none) are the bytes with these SHA-256s.
pub fn assert_complete(transaction: &Value, request_body: Option<&str>, response_body: Option<&str>) {
    assert_eq!(transaction["outcome"], "complete", "{}", outline(transaction));
    for flag in ["incomplete", "gap_bytes", "headers_partial", "status_unknown"] {
        assert!(transaction[flag].is_null(), "{flag}: {}", outline(transaction));
    }
    for (part, expected) in [("request", request_body), ("response", response_body)] {
        let part = &transaction[part];
        for flag in ["body_truncated", "body_gap_bytes", "decode_error"] {
            assert!(part[flag].is_null(), "{flag}: {}", outline(transaction));
        }
        let body = STANDARD
            .decode(part["body"].as_str().unwrap_or_default())
            .expect("a body in base64");
        let digest = (!body.is_empty()).then(|| hex_sha256(&body));
        assert_eq!(
            digest.as_deref(),
            expected,
            "body of {} bytes: {}",
            body.len(),
            outline(transaction)
        );
    }
}

/// Header fields of a captured message without its pseudo fields: lower-case name to values in order.
#[must_use]
pub fn headers_of(message: &Value) -> BTreeMap<String, Vec<String>> {
    let fields = message["headers"].as_object().cloned().unwrap_or_default();
    let values = |value: &Value| match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => vec![text(value)],
    };
    fields
        .iter()
        .filter(|(name, _)| !name.starts_with(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), values(value)))
        .collect()
}

/// The same of `[[name, value], …]`, as the Python programs write them.
#[must_use]
pub fn header_lists(pairs: &Value) -> BTreeMap<String, Vec<String>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in pairs.as_array().into_iter().flatten() {
        map.entry(text(&pair[0]).to_ascii_lowercase())
            .or_default()
            .push(text(&pair[1]));
    }
    map
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}

/// Whether a transaction says itself that it is not whole.
#[must_use]
pub fn is_flagged(transaction: &Value) -> bool {
    transaction["incomplete"] == true
        || transaction["headers_partial"] == true
        || transaction["status_unknown"] == true
        || transaction["outcome"] != "complete"
}

/// A transaction without its bodies, for failure messages.
#[must_use]
pub fn outline(transaction: &Value) -> String {
    let mut short = transaction.clone();
    for part in ["request", "response"] {
        if let Some(body) = short[part].get_mut("body") {
            *body = json!(format!("{} characters", body.as_str().unwrap_or_default().len()));
        }
    }
    format!("{short:#}")
}
