//! Redis: what real clients ask of Debian's server, plain and inside of TLS.
//!
//! Required: "`DatabaseRequest` events with statement, result, counts, errors, durations; … pipelining; …; credentials never shown".

use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::databases::{
    OTHERWISE, SECRET, agent, agent_with, assert_is_other, ends, find, node_client, of_connection, redis,
    speak_otherwise, statements,
};
use qtap_e2e::{Certificates, Program, Transport, assert_healthy, programs, run_ok, scratch, venv};
use serde_json::json;

/// "statement, result, counts, errors, durations" with `redis-cli`, as both ends see it.
#[test]
fn redis_cli_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    for transport in [Transport::Plain, Transport::Tls] {
        let agent = agent();
        let port = if transport == Transport::Plain {
            server.plain
        } else {
            server.tls
        };
        let mut command = Command::new("redis-cli");
        command
            .args(["-p", &port.to_string(), "-3"])
            .env("REDISCLI_AUTH", SECRET);
        if transport == Transport::Tls {
            command.arg("--tls").arg("--cacert").arg(&certificates.authority);
        }
        let mut program = Program::start(command.stdin(Stdio::piped()));
        for line in [
            "SET cli:key value",
            "HSET cli:hash field-1 value-1 field-2 value-2",
            "HGETALL cli:hash",
            "INCR cli:hash",
            "NOSUCH a b",
            "ACL SETUSER bob on >s3cr3t-horse-battery",
            "CONFIG GET requirepass",
            "QUIT",
        ] {
            program.say(line);
        }
        let finished = program.finish(Duration::from_secs(20));
        assert!(finished.status.success(), "{}", finished.errors());
        let (events, clients, servers) = ends(agent, port, 1);
        for capture in [&clients[0], &servers[0]] {
            assert_healthy(capture, transport);
            assert_eq!(capture.connection["l7Protocol"], "redis");
            let requests = of_connection(&events, capture);
            let set = find(&requests, "SET cli:key value");
            assert_eq!(set["databaseType"], "redis");
            assert_eq!(
                (&set["resultType"], &set["isError"], &set["outcome"]),
                (&json!("simple_string"), &json!(false), &json!("complete"))
            );
            assert!(
                set["duration"].as_u64().unwrap() >= 1
                    && set["ttfb_ms"].is_number()
                    && set["total_ms"].is_number()
            );
            let sent = "*3\r\n$3\r\nSET\r\n$7\r\ncli:key\r\n$5\r\nvalue\r\n".len();
            let (request, response) = if set["direction"] == "ingress" {
                ("bytesReceived", "bytesSent")
            } else {
                ("bytesSent", "bytesReceived")
            };
            assert_eq!((&set[request], &set[response]), (&json!(sent), &json!(5)));
            let all = find(&requests, "HGETALL cli:hash");
            assert_eq!(
                (&all["resultType"], &all["resultCount"]),
                (&json!("map"), &json!(2))
            );
            let wrong = find(&requests, "INCR cli:hash");
            assert_eq!(
                (&wrong["isError"], &wrong["errorCode"]),
                (&json!(true), &json!("WRONGTYPE"))
            );
            assert!(
                wrong["errorMsg"]
                    .as_str()
                    .unwrap()
                    .contains("wrong kind of value")
            );
            assert_eq!(find(&requests, "NOSUCH a b")["errorCode"], "ERR");
            find(&requests, "ACL SETUSER bob [REDACTED] [REDACTED]");
            assert_eq!(find(&requests, "CONFIG GET requirepass")["resultType"], "map");
        }
        let (client, server) = (
            of_connection(&events, &clients[0]),
            of_connection(&events, &servers[0]),
        );
        assert_eq!(statements(&client), statements(&server), "both ends saw the same");
        let logged = events
            .iter()
            .filter(|event| event["msg"] == "database transaction");
        let hgetall: Vec<_> = logged
            .filter(|event| event["command"]["name"] == "HGETALL")
            .collect();
        assert_eq!(hgetall.len(), 2);
        assert_eq!(
            hgetall[0]["result"]["value"],
            "{field-1, value-1, field-2, value-2}"
        );
    }
}

/// "pipelining", transactions, publish and subscribe, long values, with redis-py.
#[test]
fn redis_py_plain_and_tls_in_both_versions_of_the_protocol() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    for (transport, resp) in [
        (Transport::Plain, "2"),
        (Transport::Plain, "3"),
        (Transport::Tls, "2"),
        (Transport::Tls, "3"),
    ] {
        let agent = agent();
        let port = if transport == Transport::Plain {
            server.plain
        } else {
            server.tls
        };
        let mut command = python_client(port, resp);
        if transport == Transport::Tls {
            command.arg("--ca").arg(&certificates.authority);
        }
        let said = run_ok(&mut command).json();
        assert_eq!(said["got"], "grüße");
        assert_eq!(said["echoed"], true);
        // The second connection publishes while the first is subscribed.
        let (events, clients, servers) = ends(agent, port, 2);
        for side in [&clients, &servers] {
            for capture in side {
                assert_healthy(capture, transport);
                assert_eq!(capture.connection["l7Protocol"], "redis");
            }
            let requests = of_connection(&events, &side[0]);
            assert!(
                requests.iter().all(|request| request["outcome"] == "complete"),
                "{requests:#?}"
            );
            let set = find(&requests, "SET py:key grüße");
            assert_eq!(
                (&set["database"], &set["clientName"]),
                (&json!("2"), &json!("e2e"))
            );
            assert_eq!(find(&requests, "LRANGE py:list 0 -1")["resultCount"], 3);
            assert_eq!(
                find(&requests, "INCRBY py:list 1")["errorMsg"],
                format!(
                    "WRONGTYPE {}",
                    said["error"].as_str().unwrap().trim_start_matches("WRONGTYPE ")
                )
            );
            let echoed: Vec<_> = requests
                .iter()
                .filter(|request| request["statement"].as_str().unwrap().starts_with("ECHO n"))
                .collect();
            assert_eq!(echoed.len(), 200);
            let exec = find(&requests, "EXEC");
            assert_eq!(exec["resultCount"], 2);
            let counted = said["counted"].as_array().unwrap();
            let results: Vec<_> = counted
                .iter()
                .map(|number| format!("INCRBY py:count 1: {number}"))
                .collect();
            assert_eq!(exec["responseSummary"], json!(results));
            let big = requests
                .iter()
                .find(|request| request["statement"].as_str().unwrap().starts_with("SET py:big "))
                .unwrap();
            assert_eq!(big["truncated"], true);
            assert!(big["statement"].as_str().unwrap().len() <= (64 << 10) + 2);
            let get = find(&requests, "GET py:big");
            assert!(
                get["bytesSent"]
                    .as_u64()
                    .unwrap()
                    .max(get["bytesReceived"].as_u64().unwrap())
                    > 300_000
            );
            find(&requests, "CONFIG SET requirepass [REDACTED]");
            let subscribe = find(&requests, "SUBSCRIBE py:one py:two");
            assert_eq!(
                (&subscribe["outcome"], &subscribe["isError"]),
                (&json!("complete"), &json!(false))
            );
        }
    }
}

/// The same with the client for Node, inside of the TLS that is linked into it.
#[test]
fn redis_of_node_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    for (transport, port) in [(Transport::Plain, server.plain), (Transport::Tls, server.tls)] {
        let agent = agent();
        let mut command = node_client("redis_client.js", port);
        if transport == Transport::Tls {
            command.arg(&certificates.authority);
        }
        let said = run_ok(&mut command).json();
        assert_eq!((&said["got"], &said["echoed"]), (&json!("grüße"), &json!(true)));
        let (events, clients, servers) = ends(agent, port, 1);
        for capture in [&clients[0], &servers[0]] {
            assert_healthy(capture, transport);
            assert_eq!(capture.connection["l7Protocol"], "redis");
            let requests = of_connection(&events, capture);
            assert!(
                requests.iter().all(|request| request["outcome"] == "complete"),
                "{requests:#?}"
            );
            let set = find(&requests, "SET js:key grüße");
            assert_eq!(
                (&set["database"], &set["clientName"]),
                (&json!("3"), &json!("e2e"))
            );
            assert_eq!(find(&requests, "INCR js:list")["errorCode"], "WRONGTYPE");
            assert!(said["error"].as_str().unwrap().starts_with("WRONGTYPE"));
            let echoed: Vec<_> = statements(&requests)
                .into_iter()
                .filter(|statement| statement.starts_with("ECHO n"))
                .collect();
            assert_eq!(echoed.len(), 100);
            let exec = find(&requests, "EXEC");
            assert_eq!(
                exec["responseSummary"],
                json!(["SET js:one 1: OK", "INCR js:one: 2"])
            );
            find(&requests, "CONFIG SET requirepass [REDACTED]");
        }
        let (client, server) = (
            of_connection(&events, &clients[0]),
            of_connection(&events, &servers[0]),
        );
        assert_eq!(statements(&client), statements(&server), "both ends saw the same");
    }
}

/// Neither values nor keys that the user does not want.
#[test]
fn values_are_hidden() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    let agent = agent_with(&["redis, values: keys"]);
    let mut command = Command::new("redis-cli");
    command
        .args(["-p", &server.plain.to_string()])
        .env("REDISCLI_AUTH", SECRET);
    let mut program = Program::start(command.stdin(Stdio::piped()));
    for line in [
        "SET cli:key v4lue",
        "GET cli:key",
        "MULTI",
        "APPEND cli:key v4lue",
        "EXEC",
        "NOSUCH v4lue",
        "QUIT",
    ] {
        program.say(line);
    }
    let finished = program.finish(Duration::from_secs(20));
    assert!(finished.status.success(), "{}", finished.errors());
    let (events, clients, servers) = ends(agent, server.plain, 1);
    for capture in [&clients[0], &servers[0]] {
        let requests = of_connection(&events, capture);
        for statement in ["SET cli:key ?", "GET cli:key", "NOSUCH ?"] {
            find(&requests, statement);
        }
        assert_eq!(
            find(&requests, "EXEC")["responseSummary"],
            json!(["APPEND cli:key ?"])
        );
    }
    for event in events.iter() {
        assert!(!event.to_string().contains("v4lue"), "{event:#}");
    }
}

/// A connection older than the agent: what passes from then on, each result with its own command.
#[test]
fn redis_is_recognised_in_the_middle() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    let mut command = python_client(server.plain, "2");
    let mut program = Program::start(command.arg("--hold").stdin(Stdio::piped()));
    assert_eq!(program.line(Duration::from_secs(20)), "held");
    let agent = agent();
    program.say("go");
    let finished = program.finish(Duration::from_secs(20));
    assert!(finished.status.success(), "{}", finished.errors());
    let (events, clients, servers) = ends(agent, server.plain, 2);
    for side in [&clients, &servers] {
        let requests = of_connection(&events, &side[0]);
        let list = find(&requests, "LRANGE py:list 0 -1");
        assert_eq!(
            (&list["outcome"], &list["resultCount"]),
            (&json!("complete"), &json!(3))
        );
        // Until the order was proved, no result is given to a command.
        let unproved = requests
            .iter()
            .filter(|request| request["outcome"] == "incomplete");
        assert!(unproved.count() <= 3, "{requests:#?}");
    }
}

/// "never mislabels": binary protocols on the port of Redis stay `other`.
#[test]
fn other_bytes_on_a_port_of_redis_are_other() {
    let agent = agent();
    let port = speak_otherwise("redis");
    let (events, clients, servers) = ends(agent, port, OTHERWISE);
    for capture in clients.iter().chain(&servers) {
        assert_is_other(capture);
        assert!(of_connection(&events, capture).is_empty());
    }
}

fn python_client(port: u16, resp: &str) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("redis_client.py"))
        .args([&port.to_string(), SECRET, "--resp", resp]);
    command
}
