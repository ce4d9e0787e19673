//! WebSockets: real clients and servers, plain and inside of TLS, compressed and not (P-W1, P-W2).

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{
    Agent, Capture, Certificates, Config, Finished, Program, Side, Transport, WebServer, assert_healthy, one,
    programs, run_ok, scratch, single, wait_for_both_ends, web,
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

/// One client, its server, and both ends of their one connection.
#[derive(Debug)]
struct Exchange {
    pair: Pair,
    finished: Finished,
    dialled: Capture,
    accepted: Capture,
}

/// Starts a server for each pair and an agent, and runs the clients one after another.
fn exchanges(pairs: &[Pair], mode: &str, path: &str) -> Vec<Exchange> {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let servers: Vec<WebServer> = pairs.iter().map(|pair| pair.server(&certificates)).collect();
    let _running = bystander();
    let agent = Agent::start(&Config::default());
    let mut ran = Vec::new();
    for (pair, server) in pairs.iter().zip(&servers) {
        let finished = run_ok(&mut pair.client(mode, server.port, path, &certificates));
        wait_for_both_ends(&agent, server.port, 1);
        ran.push((*pair, finished, server.pid()));
    }
    let events = agent.stop();
    let exchanges = ran.into_iter().map(|(pair, finished, server)| Exchange {
        pair,
        dialled: single(&events, finished.pid),
        accepted: single(&events, server),
        finished,
    });
    exchanges.collect()
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

/// In cleartext and inside of TLS, compressed and not, with one library; with TLS and compression across both.
#[test]
fn python_and_node_talk_to_themselves_and_to_each_other() {
    let mut pairs = Vec::new();
    for (client, server) in [
        (Language::Python, Language::Python),
        (Language::Node, Language::Node),
        (Language::Python, Language::Node),
        (Language::Node, Language::Python),
    ] {
        for transport in [Transport::Plain, Transport::Tls] {
            for is_compressed in [false, true] {
                if client == server || (transport == Transport::Tls && is_compressed) {
                    pairs.push(Pair {
                        client,
                        server,
                        transport,
                        is_compressed,
                    });
                }
            }
        }
    }
    for exchange in exchanges(&pairs, "talk", "/echo") {
        assert_talk(exchange.pair, &exchange.dialled, Side::Client);
        assert_talk(exchange.pair, &exchange.accepted, Side::Server);
    }
}

/// aiohttp, on Debian's interpreter.
fn aiohttp(url: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(programs().join("web/ws_aiohttp.py")).arg(url);
    command
}

/// The client that Node.js has of its own.
fn builtin(url: &str) -> Command {
    let mut command = Command::new("node");
    command.arg("--experimental-websocket");
    command.arg(programs().join("web/ws_builtin.js")).arg(url);
    command
}

/// A second client library of each language, in cleartext, against servers of both.
#[test]
fn other_libraries_talk_too() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let servers = [Language::Python, Language::Node].map(|server| {
        let pair = Pair {
            client: server,
            server,
            transport: Transport::Plain,
            is_compressed: true,
        };
        (server, pair.server(&certificates))
    });
    let agent = Agent::start(&Config::default());
    for (language, server) in &servers {
        let url = format!("ws://127.0.0.1:{}/echo", server.port);
        for (name, mut client) in [
            ("aiohttp", aiohttp(&url)),
            ("aiohttp, not compressed", {
                let mut client = aiohttp(&url);
                client.env("PLAIN_MESSAGES", "1");
                client
            }),
            ("Node.js itself", builtin(&url)),
        ] {
            let finished = run_ok(&mut client);
            agent.wait_for_connections(&[finished.pid], 1);
            let capture = single(&agent.events(), finished.pid);
            assert_healthy(&capture, Transport::Plain);
            let what = format!("{name} and {language:?}: {capture:#?}");
            let websocket = &capture.requests[0]["websocket"];
            assert_eq!(
                (
                    &websocket["closed_by"],
                    &websocket["close_code"],
                    &websocket["clean"]
                ),
                (&json!("client"), &json!(1000), &json!(true)),
                "{what}"
            );
            let expected = vec![
                ("text".to_owned(), b"hello".to_vec()),
                ("binary".to_owned(), binary()),
            ];
            for direction in ["sent", "received"] {
                assert!(
                    messages(&capture.transactions[0], direction) == expected,
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn a_server_that_fails_closes_with_1011() {
    let pairs = [
        (Language::Python, Language::Node),
        (Language::Node, Language::Python),
    ];
    let pairs = pairs.map(|(client, server)| Pair {
        client,
        server,
        transport: Transport::Plain,
        is_compressed: false,
    });
    for exchange in exchanges(&pairs, "first", "/error") {
        assert_eq!(exchange.finished.json()["code"], 1011);
        for capture in [&exchange.dialled, &exchange.accepted] {
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
    let exchanges = exchanges(&[pair], "first", "/abrupt");
    let exchange = one(&exchanges);
    assert_eq!(exchange.finished.json()["code"], Value::Null);
    for capture in [&exchange.dialled, &exchange.accepted] {
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
    let running = [Transport::Plain, Transport::Tls].map(|transport| {
        let pair = Pair {
            client: Language::Python,
            server: Language::Python,
            transport,
            is_compressed: false,
        };
        let server = pair.server(&certificates);
        let mut client = pair.client("listen", server.port, "/tick", &certificates);
        (server, Program::start(client.stdin(Stdio::piped())))
    });
    std::thread::sleep(Duration::from_secs(1));
    let agent = Agent::start(&Config::default());
    std::thread::sleep(Duration::from_secs(3));
    let ended = running.map(|(server, client)| {
        let finished = client.finish(Duration::from_secs(10));
        wait_for_both_ends(&agent, server.port, 1);
        [finished.pid, server.pid()]
    });
    let events = agent.stop();
    for [client, server] in ended {
        for pid in [client, server] {
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
            let direction = if pid == client { "received" } else { "sent" };
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
