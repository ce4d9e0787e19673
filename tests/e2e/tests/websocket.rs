//! WebSockets, event streams and tunnels: real clients and servers, plain and inside of TLS, compressed and not.
//!
//! `protocols.md` P-W1, P-W2, P-S1, P-C1.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{
    Agent, Capture, Certificates, Config, Curl, Events, Finished, Program, PythonServer, Side, Transport,
    WebServer, assert_healthy, free_port, one, run_ok, scratch, single, single_on_port, wait_for_both_ends,
    wait_for_listener, web,
};
use serde_json::{Value, json};

/// What the clients send as their binary message.
fn binary() -> Vec<u8> {
    (0..70_000_u32)
        .map(|at| u8::try_from((at * 7 + at / 256) & 0xff).unwrap())
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Python,
    Node,
}

/// A pair of programs and what they speak.
#[derive(Clone, Copy, Debug)]
struct Pair {
    client: Language,
    server: Language,
    transport: Transport,
    is_compressed: bool,
}

impl Pair {
    fn server(&self, certificates: &Certificates) -> WebServer {
        let mut command = match self.server {
            Language::Python => web("ws_server.py"),
            Language::Node => web("ws_node.js"),
        };
        match (self.server, self.transport) {
            (Language::Python, Transport::Tls) => {
                command.arg("--cert").arg(&certificates.certificate);
                command.arg("--key").arg(&certificates.key);
            }
            (Language::Node, Transport::Tls) => {
                command
                    .arg("serve")
                    .arg(&certificates.certificate)
                    .arg(&certificates.key);
            }
            (Language::Node, Transport::Plain) => {
                command.arg("serve");
            }
            (Language::Python, Transport::Plain) => {}
        }
        if !self.is_compressed {
            command.env("PLAIN_MESSAGES", "1");
            if self.server == Language::Python {
                command.arg("--plain-messages");
            }
        }
        WebServer::start(&mut command)
    }

    fn client(&self, mode: &str, port: u16, path: &str, certificates: &Certificates) -> Command {
        let mut command = match self.client {
            Language::Python => web("ws_client.py"),
            Language::Node => web("ws_node.js"),
        };
        command.arg(mode);
        if self.transport == Transport::Tls {
            command.arg(format!("wss://localhost:{port}{path}"));
            command.arg(&certificates.authority);
        } else {
            command.arg(format!("ws://127.0.0.1:{port}{path}"));
        }
        if !self.is_compressed {
            command.env("PLAIN_MESSAGES", "1");
        }
        command
    }
}

/// A Node.js that runs before the agent comes, so that its TLS is known when a client of a few milliseconds starts.
fn bystander() -> WebServer {
    WebServer::start(web("ws_node.js").arg("serve"))
}

/// Starts an agent, runs a client against its server, and returns both ends of their one connection.
fn exchange(pair: Pair, mode: &str, path: &str) -> (Finished, Capture, Capture) {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = pair.server(&certificates);
    let _running = bystander();
    let agent = Agent::start(&Config::default());
    let finished = run_ok(&mut pair.client(mode, server.port, path, &certificates));
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    let client = single(&events, finished.pid);
    let accepted = single(&events, server.pid());
    (finished, client, accepted)
}

/// Messages in one direction but the control ones: opcode and payload.
fn messages(transaction: &Value, direction: &str) -> Vec<(String, Vec<u8>)> {
    let captured = transaction["captured_messages"].as_array().expect("messages");
    captured
        .iter()
        .filter(|message| message["direction"] == direction)
        .filter(|message| message["opcode"] == "text" || message["opcode"] == "binary")
        .map(|message| {
            let payload = match &message["payload"] {
                Value::String(text) => text.clone().into_bytes(),
                _ => STANDARD
                    .decode(message["payload_base64"].as_str().expect("a payload"))
                    .expect("Base64"),
            };
            (message["opcode"].as_str().unwrap().to_owned(), payload)
        })
        .collect()
}

/// Both ends told the whole talk.
fn assert_talk(pair: Pair, capture: &Capture, side: Side) {
    assert_healthy(capture, pair.transport);
    let (request, transaction) = (&capture.requests[0], &capture.transactions[0]);
    for record in [request, transaction] {
        assert_eq!(record["outcome"], "upgraded", "{record:#}");
        assert_eq!(record["upgraded_to"], "websocket");
        assert!(record["partial"].is_null() && record["incomplete"].is_null());
        let websocket = &record["websocket"];
        assert_eq!(websocket["subprotocol"], "chat.v1", "{record:#}");
        assert_eq!(
            (
                &websocket["closed_by"],
                &websocket["close_code"],
                &websocket["close_reason"]
            ),
            (&json!("client"), &json!(1000), &json!("done"))
        );
        assert_eq!(websocket["clean"], true);
        let is_agreed = websocket["extensions"]
            .as_str()
            .is_some_and(|extensions| extensions.contains("permessage-deflate"));
        assert_eq!(is_agreed, pair.is_compressed, "{websocket}");
        for sender in ["request", "response"] {
            let counts = &record["messages"][sender];
            assert_eq!(
                (&counts["count"], &counts["text"], &counts["binary"]),
                (&json!(3), &json!(2), &json!(1))
            );
            assert!(
                counts["incomplete"].is_null() && counts["damaged"].is_null(),
                "{counts}"
            );
            assert_eq!(
                counts["compressed"].as_u64().unwrap_or(0) > 0,
                pair.is_compressed,
                "{counts}"
            );
            if !pair.is_compressed {
                assert_eq!(counts["bytes"], 5 + 70_000 + 10);
            }
        }
        assert_eq!(record["messages"]["request"]["fragmented"], 1);
        assert_eq!(record["messages"]["request"]["pings"], 1);
        assert_eq!(record["messages"]["response"]["pongs"], 1);
        assert!(record["ttfb_ms"].as_f64() > Some(0.0), "{record:#}");
    }
    assert_eq!(request["status"], 101);
    assert_eq!(capture.connection["upgraded_to"], "websocket");
    assert_eq!(capture.connection["l7Protocol"], "http1");
    let expected = vec![
        ("text".to_owned(), b"hello".to_vec()),
        ("binary".to_owned(), binary()),
        ("text".to_owned(), b"fragmented".to_vec()),
    ];
    for direction in ["sent", "received"] {
        assert!(
            messages(transaction, direction) == expected,
            "{direction} of {side:?}: {pair:?}"
        );
    }
    // With TLS the socket has more bytes than the protocol; without, they are the same.
    if pair.transport == Transport::Plain {
        assert_eq!(request["bytesSent"], capture.connection["bytesSent"]);
        assert_eq!(request["bytesReceived"], capture.connection["bytesReceived"]);
    }
}

fn talk(client: Language, server: Language) {
    for transport in [Transport::Plain, Transport::Tls] {
        for is_compressed in [false, true] {
            let pair = Pair {
                client,
                server,
                transport,
                is_compressed,
            };
            let (_, dialled, accepted) = exchange(pair, "talk", "/echo");
            assert_talk(pair, &dialled, Side::Client);
            assert_talk(pair, &accepted, Side::Server);
        }
    }
}

#[test]
fn python_talks_to_python() {
    talk(Language::Python, Language::Python);
}

#[test]
fn node_talks_to_node() {
    talk(Language::Node, Language::Node);
}

#[test]
fn python_and_node_talk_to_each_other() {
    for (client, server) in [
        (Language::Python, Language::Node),
        (Language::Node, Language::Python),
    ] {
        let pair = Pair {
            client,
            server,
            transport: Transport::Tls,
            is_compressed: true,
        };
        let (_, dialled, accepted) = exchange(pair, "talk", "/echo");
        assert_talk(pair, &dialled, Side::Client);
        assert_talk(pair, &accepted, Side::Server);
    }
}

#[test]
fn a_server_that_fails_closes_with_1011() {
    for (client, server) in [
        (Language::Python, Language::Node),
        (Language::Node, Language::Python),
    ] {
        let pair = Pair {
            client,
            server,
            transport: Transport::Plain,
            is_compressed: false,
        };
        let (finished, dialled, accepted) = exchange(pair, "first", "/error");
        assert_eq!(finished.json()["code"], 1011);
        for capture in [&dialled, &accepted] {
            let websocket = &capture.requests[0]["websocket"];
            assert_eq!(
                (
                    &websocket["closed_by"],
                    &websocket["close_code"],
                    &websocket["close_reason"]
                ),
                (&json!("server"), &json!(1011), &json!("internal trouble"))
            );
            assert_eq!(capture.requests[0]["messages"]["request"]["count"], 1);
        }
    }
}

#[test]
fn an_abrupt_end_is_told_as_one() {
    let pair = Pair {
        client: Language::Python,
        server: Language::Node,
        transport: Transport::Plain,
        is_compressed: true,
    };
    let (finished, dialled, accepted) = exchange(pair, "first", "/abrupt");
    assert_eq!(finished.json()["code"], Value::Null);
    for capture in [&dialled, &accepted] {
        let request = &capture.requests[0];
        assert_eq!(request["outcome"], "upgraded", "{request:#}");
        let websocket = &request["websocket"];
        assert_eq!(websocket["abrupt"], true, "{request:#}");
        assert!(websocket["close_code"].is_null() && websocket["clean"].is_null());
    }
}

/// Live reports: what a connection that lasts does is seen before it ends.
#[test]
fn a_websocket_that_lasts_is_seen_before_it_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let pair = Pair {
        client: Language::Python,
        server: Language::Python,
        transport: Transport::Tls,
        is_compressed: true,
    };
    let server = pair.server(&certificates);
    let agent = Agent::start(&Config::default());
    let mut client = Program::start(
        pair.client("listen", server.port, "/tick", &certificates)
            .stdin(Stdio::piped()),
    );
    let is_partial = |event: &Value| event["partial"] == true || event["data"]["partial"] == true;
    agent.wait_for("a report of what lasts", Duration::from_secs(30), |events| {
        events.iter().filter(|event| is_partial(event)).count() >= 4
    });
    // Some more ticks, which only the last record tells of.
    std::thread::sleep(Duration::from_secs(1));
    client.close_input();
    let finished = client.finish(Duration::from_secs(10));
    assert!(finished.status.success(), "{}", finished.errors());
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    let capture = one(&events.of_pid(finished.pid)).clone();
    assert_healthy(&capture, Transport::Tls);
    let [partial, last] = &capture.requests[..] else {
        panic!("{capture:#?}")
    };
    assert_eq!(
        (&partial["partial"], &last["partial"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(partial["requestId"], last["requestId"]);
    let count = |record: &Value| record["messages"]["response"]["count"].as_u64().unwrap();
    assert!(
        count(partial) >= 50 && count(last) > count(partial),
        "{capture:#?}"
    );
    assert_eq!(
        (&last["websocket"]["closed_by"], &last["websocket"]["close_code"]),
        (&json!("client"), &json!(1001))
    );
    // All messages, in order, over both artifacts.
    let payloads: Vec<String> = capture
        .transactions
        .iter()
        .flat_map(|transaction| messages(transaction, "received"))
        .map(|(_, payload)| String::from_utf8(payload).unwrap())
        .collect();
    let expected: Vec<String> = (0..count(last))
        .map(|number| format!("{{\"tick\":{number}}}"))
        .collect();
    assert_eq!(payloads, expected);
}

/// "Connections that began before the agent did": upgraded before it came, it is told by its frames.
#[test]
fn a_websocket_older_than_the_agent_is_read() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    for transport in [Transport::Plain, Transport::Tls] {
        let pair = Pair {
            client: Language::Python,
            server: Language::Python,
            transport,
            is_compressed: false,
        };
        let server = pair.server(&certificates);
        let mut client = Program::start(
            pair.client("listen", server.port, "/tick", &certificates)
                .stdin(Stdio::piped()),
        );
        std::thread::sleep(Duration::from_secs(1));
        let agent = Agent::start(&Config::default());
        std::thread::sleep(Duration::from_secs(3));
        client.close_input();
        let finished = client.finish(Duration::from_secs(10));
        wait_for_both_ends(&agent, server.port, 1);
        let events = agent.stop();
        for pid in [finished.pid, server.pid()] {
            let capture = single(&events, pid);
            let connection = &capture.connection;
            assert_eq!(connection["joinedMidstream"], true, "{connection:#}");
            assert_eq!(connection["upgraded_to"], "websocket", "{connection:#}");
            assert_eq!(capture.reasons(), ["joined_midstream"], "{connection:#}");
            let request = &capture.requests[0];
            assert_eq!(
                (
                    &request["upgraded_to"],
                    &request["status_unknown"],
                    &request["headers_partial"]
                ),
                (&json!("websocket"), &json!(true), &json!(true))
            );
            let counts = &request["messages"]["response"];
            assert!(counts["count"].as_u64() > Some(10), "{request:#}");
            assert_eq!(counts["incomplete_reason"], "joined in the middle");
            let direction = if pid == finished.pid { "received" } else { "sent" };
            let ticks: Vec<u64> = messages(&capture.transactions[0], direction)
                .iter()
                .map(|(_, payload)| {
                    serde_json::from_slice::<Value>(payload).unwrap()["tick"]
                        .as_u64()
                        .unwrap()
                })
                .collect();
            assert!(
                ticks.windows(2).all(|pair| pair[1] == pair[0] + 1),
                "none is missing: {ticks:?}"
            );
        }
    }
}

/// RFC 8441: the WebSocket is a stream of an HTTP/2 connection.
#[test]
fn a_websocket_over_http2() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let mut command = web("ws_node.js");
    command
        .arg("serve-h2")
        .arg(&certificates.certificate)
        .arg(&certificates.key);
    let server = WebServer::start(&mut command);
    let agent = Agent::start(&Config::default());
    let url = format!("https://localhost:{}/chat", server.port);
    let finished = run_ok(
        web("ws_node.js")
            .arg("talk-h2")
            .arg(url)
            .arg(&certificates.authority),
    );
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    for capture in [single(&events, finished.pid), single(&events, server.pid())] {
        assert_healthy(&capture, Transport::Tls);
        assert_eq!(capture.connection["l7Protocol"], "http2");
        assert!(
            capture.connection["upgraded_to"].is_null(),
            "the connection stays what it is"
        );
        let (request, transaction) = (&capture.requests[0], &capture.transactions[0]);
        assert_eq!(
            (&request["method"], &request["status"]),
            (&json!("CONNECT"), &json!(200))
        );
        assert_eq!(request["outcome"], "upgraded", "{request:#}");
        assert_eq!(request["upgraded_to"], "websocket");
        assert_eq!(request["websocket"]["subprotocol"], "chat.v1");
        assert_eq!(
            (
                &request["websocket"]["closed_by"],
                &request["websocket"]["close_code"]
            ),
            (&json!("client"), &json!(1000))
        );
        let expected = vec![
            ("text".to_owned(), b"hello".to_vec()),
            ("binary".to_owned(), binary()),
        ];
        for direction in ["sent", "received"] {
            assert!(messages(transaction, direction) == expected, "{direction}");
        }
    }
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

/// A forward proxy that tunnels.
fn proxy(folder: &Path) -> (Program, u16) {
    let port = free_port();
    let file = folder.join("tinyproxy.conf");
    let text = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 30\nAllow 127.0.0.1\nLogLevel Error\nDisableViaHeader Yes\n"
    );
    std::fs::write(&file, text).expect("write a file");
    let mut command = Command::new("tinyproxy");
    let program = Program::start(command.arg("-d").arg("-c").arg(file).stdin(Stdio::null()));
    wait_for_listener(port);
    (program, port)
}

/// curl through the proxy.
fn proxied(proxy: u16, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "--noproxy", ""]);
    command.args(["--proxy", &format!("http://127.0.0.1:{proxy}")]);
    command.args(arguments).arg(url);
    command
}

/// The request that made the tunnel, and those inside of it.
fn inside<'a>(capture: &'a Capture, authority: &str) -> &'a [Value] {
    let (connect, inner) = capture.requests.split_first().expect("requests");
    assert_eq!(
        (&connect["method"], &connect["status"]),
        (&json!("CONNECT"), &json!(200)),
        "{capture:#?}"
    );
    assert_eq!(
        (&connect["outcome"], &connect["upgraded_to"]),
        (&json!("upgraded"), &json!("tunnel"))
    );
    assert_eq!(connect["url"], authority);
    inner
}

fn stop_when_over(agent: Agent, pid: u32) -> Events {
    agent.wait_for_connections(&[pid], 1);
    agent.stop()
}

/// P-C1: TLS inside of a plain CONNECT is read as TLS is, on the same connection.
#[test]
fn tls_inside_of_a_tunnel_has_its_own_transactions_and_sni() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let (_program, proxy) = proxy(folder.path());
    let agent = Agent::start(&Config::default());
    let url = format!("https://localhost:{}/inner", server.port);
    let authority = certificates.authority.to_string_lossy().into_owned();
    let arguments = ["--cacert", &authority, "--http1.1", "--data", "name=qtap", &url];
    let finished = run_ok(&mut proxied(proxy, &url, &arguments));
    let events = stop_when_over(agent, finished.pid);
    let capture = one(&events.of_pid(finished.pid)).clone();
    assert_healthy(&capture, Transport::Tls);
    let requests = inside(&capture, &format!("localhost:{}", server.port));
    assert_eq!(requests.len(), 2, "two of them on one tunnel: {capture:#?}");
    for request in requests {
        assert_eq!(
            (&request["url"], &request["outcome"]),
            (&json!(url), &json!("complete"))
        );
        assert_eq!(request["tlsProbeIntrospected"], true);
    }
    assert_eq!(capture.connection["tls"]["sni"], "localhost");
    assert_eq!(
        capture.connection["destination"]["address"]["port"], proxy,
        "attributed to what was dialled"
    );
    assert_eq!(capture.connection["l7Protocol"], "http1");
    assert_eq!(capture.connection["upgraded_to"], "tunnel");
    // The proxy's own connection to the origin is another one; the origin reads it with its own secrets.
    let origin = request_count(&events.of_port(server.port, Side::Server));
    assert_eq!(origin, 2);
}

/// Requests of the connections together.
fn request_count(captures: &[Capture]) -> usize {
    captures.iter().map(|capture| capture.requests.len()).sum()
}

#[test]
fn http_inside_of_a_tunnel_is_read() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let (_program, proxy) = proxy(folder.path());
    let agent = Agent::start(&Config::default());
    let url = format!("http://localhost:{}/inner", server.port);
    let finished = run_ok(&mut proxied(proxy, &url, &["--proxytunnel"]));
    let events = stop_when_over(agent, finished.pid);
    let capture = one(&events.of_pid(finished.pid)).clone();
    assert_healthy(&capture, Transport::Plain);
    let requests = inside(&capture, &format!("localhost:{}", server.port));
    assert_eq!(one(requests)["url"], url);
    // Both ends of the tunnel, and the end that dialled the origin.
    assert_eq!(request_count(&events.of_port(proxy, Side::Server)), 2);
    let dialled = single_on_port(&events, server.port, Side::Client);
    assert_eq!(dialled.requests[0]["url"], url);
}

#[test]
fn a_websocket_inside_of_tls_inside_of_a_tunnel() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = WebServer::start(
        web("ws_server.py")
            .arg("--cert")
            .arg(&certificates.certificate)
            .arg("--key")
            .arg(&certificates.key),
    );
    let (_program, proxy) = proxy(folder.path());
    let agent = Agent::start(&Config::default());
    let mut command = web("ws_client.py");
    command
        .arg("talk")
        .arg(format!("wss://localhost:{}/echo", server.port));
    command
        .arg(&certificates.authority)
        .env("PROXY", format!("http://127.0.0.1:{proxy}"));
    let finished = run_ok(&mut command);
    let events = stop_when_over(agent, finished.pid);
    let capture = one(&events.of_pid(finished.pid)).clone();
    assert_healthy(&capture, Transport::Tls);
    let requests = inside(&capture, &format!("localhost:{}", server.port));
    let websocket = one(requests);
    assert_eq!(
        capture.connection["upgraded_to"], "websocket",
        "the last of the two"
    );
    assert_eq!(websocket["upgraded_to"], "websocket", "{capture:#?}");
    assert_eq!(websocket["messages"]["response"]["count"], 3);
    assert_eq!(websocket["websocket"]["close_code"], 1000);
}
