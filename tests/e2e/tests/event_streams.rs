//! Server-sent events: real clients, plain and inside of TLS, compressed and not (P-S1).

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{
    Agent, Capture, Certificates, Config, Curl, Program, Side, Transport, WebServer, assert_healthy, one,
    run_ok, scratch, single, wait_for_both_ends, web,
};
use serde_json::{Value, json};

/// A Node.js that runs before the agent comes, so that its TLS is known when a client of a few milliseconds starts.
fn bystander() -> WebServer {
    WebServer::start(web("ws_node.js").arg("serve"))
}

fn sse_server(transport: Transport, certificates: &Certificates) -> WebServer {
    let mut command = web("sse_server.py");
    if transport == Transport::Tls {
        command.arg("--cert").arg(&certificates.certificate);
        command.arg("--key").arg(&certificates.key);
    }
    WebServer::start(&mut command)
}

/// The five events of the server, as captured.
fn assert_events(capture: &Capture) {
    let (request, transaction) = (&capture.requests[0], &capture.transactions[0]);
    assert_eq!(request["outcome"], "complete");
    assert_eq!(request["category"], "event_stream");
    let events = &request["events"];
    assert_eq!(
        (
            &events["count"],
            &events["comments"],
            &events["last_id"],
            &events["retry_ms"]
        ),
        (&json!(5), &json!(1), &json!("4"), &json!(2500)),
        "{request:#}"
    );
    let at = |key: &str| events[key].as_f64().unwrap();
    assert!(
        at("first_ms") + 50.0 < at("last_ms"),
        "they came one after the other: {events}"
    );
    assert!(at("last_ms") <= request["total_ms"].as_f64().unwrap());
    let captured = transaction["captured_events"].as_array().expect("events");
    let shown: Vec<_> = captured
        .iter()
        .map(|event| {
            (
                event["event"].as_str().unwrap(),
                event["data"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let expected: Vec<_> = (0..5)
        .map(|number| ("delta", format!("{{\"number\":{number}}}")))
        .collect();
    assert_eq!(shown, expected);
    let body = STANDARD
        .decode(transaction["response"]["body"].as_str().unwrap())
        .unwrap();
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.starts_with("retry: 2500\n\n") && body.ends_with(": end\n\n"),
        "{body}"
    );
}

#[test]
fn event_streams_of_curl_and_node_plain_tls_and_compressed() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    for transport in [Transport::Plain, Transport::Tls] {
        for path in ["/events", "/gzip"] {
            let server = sse_server(transport, &certificates);
            let _running = bystander();
            let agent = Agent::start(&Config::default());
            let scheme = if transport == Transport::Tls {
                "https"
            } else {
                "http"
            };
            let url = format!("{scheme}://localhost:{}{path}", server.port);
            let curl = Curl::new(folder.path(), &url)
                .authority(&certificates.authority)
                .args(&["-N", "-4"]);
            let (by_curl, _) = curl.run();
            let mut node = web("sse_client.js");
            node.arg(url.replace(
                "localhost",
                if transport == Transport::Tls {
                    "localhost"
                } else {
                    "127.0.0.1"
                },
            ));
            node.env("NODE_EXTRA_CA_CERTS", &certificates.authority);
            let by_node = run_ok(&mut node);
            assert_eq!(by_node.json()["events"], 5);
            wait_for_both_ends(&agent, server.port, 2);
            let events = agent.stop();
            for capture in [single(&events, by_curl.pid), single(&events, by_node.pid)] {
                assert_healthy(&capture, transport);
                assert_events(&capture);
            }
            for capture in events.of_port(server.port, Side::Server) {
                assert_events(&capture);
            }
        }
    }
}

#[test]
fn an_endless_event_stream_is_seen_before_it_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = sse_server(Transport::Tls, &certificates);
    let agent = Agent::start(&Config::default());
    let url = format!("https://localhost:{}/endless", server.port);
    let curl = Curl::new(folder.path(), &url).authority(&certificates.authority);
    let mut command = curl.args(&["-N", "-4"]).command();
    let client = Program::start(command.stdin(Stdio::null()));
    let pid = client.pid();
    agent.wait_for("a report of what lasts", Duration::from_secs(30), |events| {
        events
            .of_type("request")
            .any(|request| request["partial"] == true)
    });
    drop(client);
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    let capture = one(&events.of_pid(pid)).clone();
    let [partial, last] = &capture.requests[..] else {
        panic!("{capture:#?}")
    };
    assert_eq!(
        (&partial["outcome"], &last["outcome"]),
        (&json!("open"), &json!("canceled"))
    );
    assert_eq!(partial["requestId"], last["requestId"]);
    let count = |record: &Value| record["events"]["count"].as_u64().unwrap();
    assert!(
        count(partial) >= 50 && count(last) >= count(partial),
        "{capture:#?}"
    );
    assert!(partial["bytesReceived"].as_u64() > Some(500));
    let captured: Vec<_> = capture
        .transactions
        .iter()
        .filter_map(|transaction| transaction["captured_events"].as_array())
        .flatten()
        .map(|event| event["data"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<_> = (0..count(last)).map(|number| number.to_string()).collect();
    assert_eq!(captured, expected, "each event once, over both records");
}
