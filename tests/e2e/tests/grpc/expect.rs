//! What the agent must have said of their calls.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{Agent, Capture, Events, Side, hex_sha256, until};
use serde_json::{Value, json};

use crate::programs::{FAILURE, Library, Run, TYPES};

pub(crate) fn client_end(events: &Events, run: &Run) -> Vec<Capture> {
    events
        .of_pid(run.pid)
        .into_iter()
        .filter(|capture| capture.connection["destination"]["address"]["port"] == run.port)
        .collect()
}

/// The other ends of these connections.
pub(crate) fn server_end(events: &Events, run: &Run) -> Vec<Capture> {
    let ports: BTreeSet<u64> = client_end(events, run)
        .iter()
        .map(|capture| capture.connection["source"]["address"]["port"].as_u64().unwrap())
        .collect();
    events
        .of_port(run.port, Side::Server)
        .into_iter()
        .filter(|capture| {
            let port = &capture.connection["source"]["address"]["port"];
            port.as_u64().is_some_and(|port| ports.contains(&port))
        })
        .collect()
}

/// Waits until every connection of these runs is over at both ends, and ends the agent.
pub(crate) fn end(agent: Agent, runs: &[Run]) -> Events {
    until(Duration::from_secs(30), "both ends of every connection", || {
        let events = agent.events();
        runs.iter().all(|run| {
            let (clients, servers) = (client_end(&events, run), server_end(&events, run));
            !clients.is_empty() && clients.len() == servers.len()
        })
    });
    agent.stop()
}

/// Event and artifact of the one call of a method.
pub(crate) fn of_method<'a>(captures: &'a [Capture], method: &str) -> (&'a Value, &'a Value) {
    let is_it = |event: &&Value, key: &str| event[key] == method;
    let events: Vec<_> = captures
        .iter()
        .flat_map(|capture| &capture.requests)
        .filter(|event| is_it(event, "grpcMethod"))
        .collect();
    let artifacts: Vec<_> = captures
        .iter()
        .flat_map(|capture| &capture.transactions)
        .filter(|artifact| is_it(artifact, "method"))
        .collect();
    assert_eq!((events.len(), artifacts.len()), (1, 1), "{method}: {captures:#?}");
    assert_eq!(events[0]["requestId"], artifacts[0]["metadata"]["request_id"]);
    (events[0], artifacts[0])
}

/// Sizes and SHA-256 of the messages of a part of an artifact, as the programs write them.
pub(crate) fn shown(part: &Value) -> Vec<Value> {
    let messages = part["messages"].as_array().cloned().unwrap_or_default();
    messages
        .iter()
        .map(|message| {
            assert!(
                message["truncated"].is_null() && message["decode_error"].is_null(),
                "{message}"
            );
            let data = STANDARD.decode(message["data"].as_str().unwrap()).unwrap();
            json!({"size": data.len(), "sha256": hex_sha256(&data)})
        })
        .collect()
}

pub(crate) fn sum(messages: &[Value]) -> u64 {
    messages
        .iter()
        .map(|message| message["size"].as_u64().unwrap())
        .sum()
}

/// What the agent says of one direction is what the program saw of it.
pub(crate) fn assert_messages(method: &str, told: &Value, shown: &[Value], seen: &[Value], what: &str) {
    if method == "Cancelled" && seen.len() > 1 {
        // How many were on their way when the client gave up is not the client's to know.
        assert!(told["count"].as_u64().unwrap() >= 2, "{what}: {told}");
        assert_eq!(shown.len() as u64, told["count"].as_u64().unwrap(), "{what}");
        assert!(shown.iter().all(|message| *message == seen[0]), "{what}");
        return;
    }
    assert_eq!(told["count"], seen.len(), "{what}: {told}");
    assert_eq!(shown, seen, "{what}");
    for flag in ["unfinished", "incomplete"] {
        assert!(told[flag].is_null(), "{what}: {told}");
    }
    if told["compressed"].is_null() {
        assert_eq!(told["bytes"], sum(seen), "{what}: {told}");
    } else {
        assert_eq!(
            (&told["compressed"], &told["encoding"]),
            (&json!(1), &json!("gzip")),
            "{what}"
        );
        let bytes = told["bytes"].as_u64().unwrap();
        assert!((1..sum(seen)).contains(&bytes), "{what}: {told}");
    }
}

/// What the agent says of a call is what its client saw of it.
pub(crate) fn assert_call(captures: &[Capture], method: &str, call_type: &str, run: &Run) {
    let (event, artifact) = of_method(captures, method);
    let what = format!("{method} of {}: {event:#}", run.what);
    let seen = &run.seen[method];
    let list = |key: &str| seen[key].as_array().unwrap().clone();
    assert_eq!(
        (&event["type"], &event["grpcService"]),
        (&json!("grpc_request"), &json!("e2e.Calls"))
    );
    assert_eq!(event["call_type"], call_type, "{what}");
    assert_eq!(event["grpcStatus"], seen["status"].to_string(), "{what}");
    let (name, status) = match seen["status"].as_u64().unwrap() {
        0 => ("OK", 200),
        1 => ("CANCELLED", 499),
        4 => ("DEADLINE_EXCEEDED", 504),
        5 => ("NOT_FOUND", 404),
        12 => ("UNIMPLEMENTED", 501),
        other => panic!("status {other}"),
    };
    assert_eq!(
        (&event["grpcStatusName"], &event["status"]),
        (&json!(name), &json!(status)),
        "{what}"
    );
    for key in ["grpc_status", "grpc_status_name", "grpc_message"] {
        assert_eq!(artifact[key], artifact["response"][key], "{what}");
    }
    assert_eq!(
        (&artifact["grpc_status_name"], &artifact["service"]),
        (&json!(name), &json!("e2e.Calls"))
    );
    let is_sent = |source: &Value| source == "trailers" || source == "head";
    match method {
        "Cancelled" => {
            assert_eq!(
                (&event["outcome"], &event["error_code"]),
                (&json!("reset"), &json!(8)),
                "{what}"
            );
            assert_eq!(event["grpc_status_source"], "reset", "{what}");
        }
        "Slow" => {
            let timeout = event["timeout_ms"].as_f64().unwrap();
            assert!((250.0..=310.0).contains(&timeout), "{what}");
            // Whichever end counts faster says so first.
            let source = &event["grpc_status_source"];
            assert!(is_sent(source) || source == "deadline", "{what}");
        }
        _ => {
            assert!(is_sent(&event["grpc_status_source"]), "{what}");
            assert_eq!(
                (&event["timeout_ms"], &event["http_status"]),
                (&Value::Null, &json!(200)),
                "{what}"
            );
            // A client does not tell what came with OK.
            if seen["status"] != 0 {
                assert_eq!(event["grpcMessage"], seen["message"], "{what}");
            }
        }
    }
    if method == "Fail" {
        assert_eq!(
            (&event["grpcMessage"], &event["grpc_status_details"]),
            (&json!(FAILURE), &json!(true))
        );
    }
    let told = &event["messages"];
    assert_messages(
        method,
        &told["request"],
        &shown(&artifact["request"]),
        &list("sent"),
        &what,
    );
    assert_messages(
        method,
        &told["response"],
        &shown(&artifact["response"]),
        &list("received"),
        &what,
    );
    if method == "Packed" {
        assert_eq!(told["request"]["compressed"], 1, "{what}");
        // grpc-js does not compress what it answers.
        let answers = u64::from(run.server == Library::Python);
        assert_eq!(
            told["response"]["compressed"].as_u64().unwrap_or(0),
            answers,
            "{what}"
        );
    }
}

/// One line of the access log for each call.
pub(crate) fn assert_access_log(events: &Events, captures: &[Capture], what: &str) {
    for event in captures.iter().flat_map(|capture| &capture.requests) {
        let lines: Vec<&Value> = events
            .iter()
            .filter(|line| line["msg"] == "gRPC transaction" && line["request_id"] == event["requestId"])
            .collect();
        assert_eq!(lines.len(), 1, "{what}: {event:#}");
        for (key, of_event) in [
            ("service", "grpcService"),
            ("method", "grpcMethod"),
            ("grpc_status", "grpcStatus"),
            ("grpc_status_name", "grpcStatusName"),
            ("messages", "messages"),
        ] {
            assert_eq!(lines[0][key], event[of_event], "{what}");
        }
    }
}

/// The server saw what the clients say, and so what the agent says: but for calls that were given up, of which it saw as much.
pub(crate) fn assert_server(seen: &[Value], runs: &[Run], library: Library) {
    let clients: Vec<&Run> = runs.iter().filter(|run| run.server == library).collect();
    for (method, _) in TYPES.iter().filter(|(method, _)| *method != "Missing") {
        let calls: Vec<&Value> = seen.iter().filter(|call| call["method"] == *method).collect();
        assert_eq!(calls.len(), clients.len(), "{method} at {library:?}");
        for (call, run) in calls.iter().zip(&clients) {
            let of_client = &run.seen[*method];
            assert_eq!(call["received"], of_client["sent"], "{method} at {library:?}");
            if *method == "Cancelled" {
                let sent = call["sent"].as_array().unwrap();
                assert!(sent.len() >= of_client["received"].as_array().unwrap().len());
            } else {
                assert_eq!(call["sent"], of_client["received"], "{method} at {library:?}");
            }
        }
    }
}
