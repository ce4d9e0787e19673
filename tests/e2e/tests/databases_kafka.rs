//! Kafka: what real clients ask of a real broker, plain and inside of TLS.
//!
//! The broker is Tansu, a program of its own in Rust, or the one in librdkafka; Apache Kafka itself cannot be had from the package
//! registries. TLS is HAProxy's. Required: "`DatabaseRequest` events with statement, result, counts, errors, durations; … credentials never shown".

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qtap_e2e::databases::{OTHERWISE, SECRET, agent, all, assert_is_other, broker, speak_otherwise, tansu};
use qtap_e2e::{
    Agent, Capture, Events, Program, Side, Transport, assert_healthy, programs, run_ok, scratch, until, venv,
};
use serde_json::{Value, json};

fn client(library: &str, port: u16, folder: &Path, transport: Transport) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("kafka_client.py"))
        .args([library, &port.to_string()]);
    if transport == Transport::Tls {
        command.arg("--ca").arg(folder.join("ec-ca.pem"));
    }
    command
}

/// Stops the agent once both ends of all connections to `port` are over. The password is in nothing that it wrote.
fn ends(agent: Agent, port: u16) -> (Events, Vec<Capture>, Vec<Capture>) {
    let count = |events: &Events, side| events.of_port(port, side).len();
    // How many a client opens is its own affair: until no more end.
    let mut former = (0, Instant::now());
    until(Duration::from_secs(30), "both ends of every connection", || {
        let events = agent.events();
        let (clients, servers) = (count(&events, Side::Client), count(&events, Side::Server));
        if clients + servers != former.0 {
            former = (clients + servers, Instant::now());
        }
        clients > 0 && clients == servers && former.1.elapsed() > Duration::from_secs(2)
    });
    assert!(!agent.log().contains(SECRET), "the log shows a password");
    let other = agent.other_output().join("\n");
    assert!(
        !other.contains(SECRET),
        "the access log shows a password: {other}"
    );
    let events = agent.stop();
    for event in events.iter() {
        let text = event.to_string();
        assert!(!text.contains(SECRET), "an event shows a password: {text}");
    }
    let (clients, servers) = (
        events.of_port(port, Side::Client),
        events.of_port(port, Side::Server),
    );
    assert_eq!(clients.len(), servers.len(), "both ends of each");
    (events, clients, servers)
}

/// `database_request` events of some connections.
fn requests<'a>(events: &'a Events, captures: &[Capture]) -> Vec<&'a Value> {
    let is_of = |event: &&Value| {
        captures
            .iter()
            .any(|capture| event["connectionId"] == capture.connection["meta"]["connectionId"])
    };
    events.of_type("database_request").filter(is_of).collect()
}

fn statements(requests: &[&Value]) -> Vec<String> {
    let statement = |request: &&Value| request["statement"].as_str().unwrap().to_owned();
    let mut all: Vec<_> = requests.iter().map(statement).collect();
    all.sort();
    all
}

/// Each statement of `few` is in `many`, at least as often.
fn assert_within(few: &[String], many: &[String]) {
    for statement in few {
        let count = |of: &[String]| of.iter().filter(|other| *other == statement).count();
        assert!(count(few) <= count(many), "{statement}: {few:#?} {many:#?}");
    }
}

/// Those with this statement.
fn of<'a>(requests: &[&'a Value], statement: &str) -> Vec<&'a Value> {
    let found = all(requests, statement);
    assert!(!found.is_empty(), "{statement}: {:#?}", statements(requests));
    found
}

/// Sum of a number over requests.
fn sum(requests: &[&Value], key: &str) -> u64 {
    requests.iter().filter_map(|request| request[key].as_u64()).sum()
}

fn summary(request: &Value) -> Vec<&str> {
    let lines = request["responseSummary"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    lines.iter().map(|line| line.as_str().unwrap()).collect()
}

/// Every connection is healthy, and what one end saw is what the other saw.
fn check_ends(events: &Events, clients: &[Capture], servers: &[Capture], transport: Transport) {
    let is_silent = |capture: &&Capture| capture.connection["health"]["checks"]["protocol"] == "n/a";
    for capture in clients.iter().chain(servers).filter(is_silent) {
        // librdkafka opens connections ahead of need, and drops some before it has said anything.
        assert!(requests(events, std::slice::from_ref(capture)).is_empty());
        assert_eq!(
            capture.connection["health"]["status"], "healthy",
            "{:#}",
            capture.connection
        );
    }
    let spoken: Vec<_> = clients
        .iter()
        .chain(servers)
        .filter(|capture| !is_silent(capture))
        .collect();
    assert!(
        spoken.len() >= 4,
        "a bootstrap connection and one to the broker at the least, both ends"
    );
    for capture in spoken {
        assert_healthy(capture, transport);
        assert_eq!(
            capture.connection["l7Protocol"], "kafka",
            "{:#}",
            capture.connection
        );
    }
    let (client, server) = (requests(events, clients), requests(events, servers));
    // A client may close on the heels of a request, which its broker then never reads.
    let answered: Vec<_> = client
        .iter()
        .copied()
        .filter(|request| request["outcome"] == "complete")
        .collect();
    assert_within(&statements(&answered), &statements(&server));
    assert_within(&statements(&server), &statements(&client));
    for request in client.iter().chain(&server) {
        assert_eq!(request["databaseType"], "kafka");
        assert_ne!(request["resultType"], "unread", "{request:#}");
        let is_over = matches!(request["outcome"].as_str(), Some("complete" | "canceled"));
        assert!(is_over, "{request:#}");
    }
}

/// Topics, messages, a group, its offsets, an error, waiting for data: with kafka-python.
#[test]
fn kafka_python_plain_and_tls() {
    for transport in [Transport::Plain, Transport::Tls] {
        let folder = scratch();
        let broker = broker(folder.path(), transport, &[]);
        let agent = agent();
        let said = run_ok(&mut client("python", broker.port, folder.path(), transport)).json();
        assert_eq!(said["values"], json!(["first", "value 1", "value 2", "value 3"]));
        let (events, clients, servers) = ends(agent, broker.port);
        check_ends(&events, &clients, &servers, transport);
        for side in [&clients, &servers] {
            let all = requests(&events, side);
            let created = of(&all, "CreateTopics orders");
            let codes: Vec<_> = created.iter().map(|request| &request["errorCode"]).collect();
            assert_eq!(codes, [&Value::Null, &json!("TOPIC_ALREADY_EXISTS")]);
            assert!(
                created[1]["errorMsg"]
                    .as_str()
                    .unwrap()
                    .starts_with("orders: TOPIC_ALREADY_EXISTS")
            );
            assert_eq!(
                (&created[1]["isError"], &created[1]["resultType"]),
                (&json!(true), &json!("Error"))
            );
            let produced = of(&all, "Produce orders");
            assert_eq!(sum(&produced, "affectedCount"), 4);
            let first = summary(produced[0]);
            assert_eq!(first[0], "1 message");
            assert!(
                first[1].starts_with("orders/0 1 message ")
                    && first[1].ends_with(" bytes uncompressed offset=0"),
                "{first:?}"
            );
            assert_eq!(first[2], "[orders/0] key=k0 first");
            assert_eq!(produced[0]["clientName"], "e2e");
            assert!(produced[0]["duration"].as_u64().unwrap() >= 1 && produced[0]["ttfb_ms"].is_number());
            let fetched = of(&all, "Fetch orders");
            assert_eq!(sum(&fetched, "resultCount"), 4, "{fetched:#?}");
            assert!(
                fetched
                    .iter()
                    .any(|request| summary(request).contains(&"[orders/0] key=k3 value 3"))
            );
            let idle = fetched
                .iter()
                .find(|request| request["wait_ms"].as_f64().unwrap_or(0.0) > 300.0);
            let idle = idle.unwrap_or_else(|| panic!("one waited for data: {fetched:#?}"));
            assert!(idle["total_ms"].as_f64().unwrap() > 300.0);
            assert!(
                idle["duration"].as_u64().unwrap() < 300,
                "waiting is not slowness: {idle:#}"
            );
            for statement in [
                "FindCoordinator group=readers",
                "JoinGroup group=readers",
                "SyncGroup group=readers",
                "OffsetFetch orders group=readers",
                "OffsetCommit orders group=readers",
                "LeaveGroup group=readers",
                "ListOffsets orders",
                "Metadata orders",
            ] {
                of(&all, statement);
            }
        }
        let logged: Vec<_> = events
            .iter()
            .filter(|event| event["msg"] == "database transaction" && event["command"]["name"] == "Produce")
            .collect();
        assert_eq!(logged[0]["command"]["args"], json!(["orders"]));
        assert_eq!(logged[0]["database_type"], "kafka");
    }
}

/// Every compression, ids instead of names of topics, no acknowledgement: with librdkafka, whose OpenSSL is its own.
#[test]
fn librdkafka_plain_and_tls() {
    for transport in [Transport::Plain, Transport::Tls] {
        let folder = scratch();
        let broker = broker(folder.path(), transport, &[]);
        let agent = agent();
        let mut command = client("librdkafka", broker.port, folder.path(), transport);
        let mut program = Program::start(command.arg("--hold").stdin(Stdio::piped()));
        assert_eq!(program.line(Duration::from_secs(20)), "held");
        // A wheel's library is found when it is mapped, which this client would do right before it connects.
        until(Duration::from_secs(20), "probes in librdkafka", || {
            let log = agent.log();
            log.lines().any(|line| {
                line.contains("attached OpenSSL probes") && line.contains("/confluent_kafka.libs/")
            })
        });
        program.say("go");
        let finished = program.finish(Duration::from_secs(60));
        assert!(finished.status.success(), "{}", finished.errors());
        let said = finished.json();
        assert_eq!(said["values"].as_array().unwrap().len(), 21);
        let (events, clients, servers) = ends(agent, broker.port);
        check_ends(&events, &clients, &servers, transport);
        for side in [&clients, &servers] {
            let all = requests(&events, side);
            of(&all, "CreateTopics zipped,late");
            let produced = of(&all, "Produce zipped");
            assert_eq!(sum(&produced, "affectedCount"), 20);
            for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
                let line = format!("[zipped/0] key=k0 headers=trace {codec} value 0 {codec} value 0 ");
                let of_codec = produced
                    .iter()
                    .find(|request| summary(request).iter().any(|shown| shown.starts_with(&line)));
                let of_codec = of_codec.unwrap_or_else(|| panic!("{line}: {produced:#?}"));
                let name = if codec == "none" { "uncompressed" } else { codec };
                assert!(summary(of_codec)[1].contains(name), "{of_codec:#}");
            }
            let unacknowledged = of(&all, "Produce late");
            assert_eq!(unacknowledged[0]["resultType"], "no_reply");
            assert_eq!(unacknowledged[0]["affectedCount"], 1);
            // By id, which the reply to a request for metadata told, on another connection too.
            let fetched: Vec<_> = all
                .iter()
                .copied()
                .filter(|request| request["statement"].as_str().unwrap().starts_with("Fetch "))
                .collect();
            assert_eq!(sum(&fetched, "resultCount"), 21, "{fetched:#?}");
            for request in &fetched {
                let statement = request["statement"].as_str().unwrap();
                let topics = statement.strip_prefix("Fetch ").unwrap();
                assert!(
                    topics.split(',').all(|topic| ["zipped", "late"].contains(&topic)),
                    "{statement}"
                );
            }
        }
    }
}

/// Groups and errors that pass, against the broker that librdkafka has for its own tests.
#[test]
fn a_group_of_librdkafka_and_errors_that_pass() {
    let libraries = tansu().ancestors().nth(3).unwrap().join("confluent_kafka.libs");
    let library = std::fs::read_dir(&libraries)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .next()
        .unwrap();
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("kafka_mock.py"))
        .arg(library)
        .stdin(Stdio::piped());
    let mut broker = Program::start(&mut command);
    let port: u16 = broker.line(Duration::from_secs(20)).parse().unwrap();
    let folder = scratch();
    let agent = agent();
    let said = run_ok(&mut client("group", port, folder.path(), Transport::Plain)).json();
    assert_eq!(said["value"], "one");
    let (events, clients, servers) = ends(agent, port);
    check_ends(&events, &clients, &servers, Transport::Plain);
    for side in [&clients, &servers] {
        let all = requests(&events, side);
        let produced = of(&all, "Produce events");
        let codes: Vec<_> = produced.iter().map(|request| &request["errorCode"]).collect();
        assert_eq!(codes, [&json!("NOT_LEADER_OR_FOLLOWER"), &Value::Null]);
        let message = produced[0]["errorMsg"].as_str().unwrap();
        assert!(
            message.starts_with("events/") && message.ends_with(": NOT_LEADER_OR_FOLLOWER (retriable)"),
            "{message}"
        );
        let affected: Vec<_> = produced.iter().map(|request| &request["affectedCount"]).collect();
        assert_eq!(affected, [&json!(0), &json!(1)]);
        let committed = of(&all, "OffsetCommit events group=members");
        assert_eq!(
            committed[0]["errorCode"], "COORDINATOR_LOAD_IN_PROGRESS",
            "{committed:#?}"
        );
        assert_eq!(committed.last().unwrap()["isError"], false, "{committed:#?}");
        assert!(summary(committed.last().unwrap())[0].ends_with(" offset=1"));
        let fetched = of(&all, "Fetch events");
        assert_eq!(sum(&fetched, "resultCount"), 1);
        assert!(
            fetched
                .iter()
                .any(|request| summary(request).iter().any(|line| line.ends_with("] key=k one")))
        );
        for statement in [
            "FindCoordinator group=members",
            "JoinGroup group=members",
            "SyncGroup group=members",
            "Heartbeat group=members",
            "OffsetFetch events group=members",
            "LeaveGroup group=members",
        ] {
            of(&all, statement);
        }
    }
}

/// "credentials never shown": a login that the broker refuses.
#[test]
fn a_login_shows_no_credentials() {
    let folder = scratch();
    let broker = broker(folder.path(), Transport::Plain, &["--authentication"]);
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        let agent = agent();
        let mut command = client("librdkafka", broker.port, folder.path(), Transport::Plain);
        let said = run_ok(command.args(["--sasl", mechanism, "alice", SECRET])).json();
        assert!(!said["errors"].as_array().unwrap().is_empty(), "{said}");
        let (events, clients, servers) = ends(agent, broker.port);
        for side in [&clients, &servers] {
            let all = requests(&events, side);
            of(&all, &format!("SaslHandshake mechanism={mechanism}"));
            if mechanism != "PLAIN" {
                of(&all, "SaslAuthenticate [REDACTED]");
            }
        }
    }
}

/// A connection older than the agent: what passes from then on.
#[test]
fn kafka_is_recognised_in_the_middle() {
    let folder = scratch();
    let broker = broker(folder.path(), Transport::Plain, &[]);
    let mut command = client("python", broker.port, folder.path(), Transport::Plain);
    let mut program = Program::start(command.arg("--hold").stdin(Stdio::piped()));
    assert_eq!(program.line(Duration::from_secs(20)), "held");
    let agent = agent();
    program.say("go");
    let finished = program.finish(Duration::from_secs(60));
    assert!(finished.status.success(), "{}", finished.errors());
    let (events, clients, servers) = ends(agent, broker.port);
    for side in [&clients, &servers] {
        let all = requests(&events, side);
        let produced = of(&all, "Produce orders");
        assert_eq!(sum(&produced, "affectedCount"), 3, "{produced:#?}");
        assert!(
            produced.iter().all(|request| request["outcome"] == "complete"),
            "{produced:#?}"
        );
        let is_older = |capture: &&Capture| {
            capture.connection["health"]["reasons"]
                .to_string()
                .contains("joined_midstream")
        };
        assert!(
            side.iter().any(|capture| is_older(&capture)),
            "the producer's connection is older"
        );
    }
}

/// "never mislabels": lengths and small numbers on the port of Kafka stay `other`.
#[test]
fn other_bytes_on_a_port_of_kafka_are_other() {
    let agent = agent();
    let port = speak_otherwise("kafka");
    let (events, clients, servers) = ends(agent, port);
    assert_eq!(clients.len(), OTHERWISE);
    for capture in clients.iter().chain(&servers) {
        assert_is_other(capture);
        assert!(requests(&events, std::slice::from_ref(capture)).is_empty());
    }
}
