//! Bytes that no program should send, behind a beginning that is sound: they reach the parser of each protocol.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qtap_e2e::{
    Agent, Capture, Config, Events, Program, assert_nothing_in_flight, assert_sums, one, python, quic,
};
use serde_json::{Value, json};

use super::hostile::GROWTH;

/// Protocols of `hostile_protocols.py`: their ports there, and what a connection of each is called.
const PROTOCOLS: [(&str, u16, &str); 8] = [
    ("redis", 6379, "redis"),
    ("postgres", 5432, "postgres"),
    ("mysql", 3306, "mysql"),
    ("kafka", 9092, "kafka"),
    ("websocket", 8080, "http1"),
    ("sse", 8081, "http1"),
    ("grpc", 50051, "grpc"),
    ("dns", 53, "dns"),
];
/// Until all is told.
const PATIENCE: Duration = Duration::from_secs(90);

/// An agent that parses everything that it can, and shows all of it, as text too.
fn agent() -> Agent {
    let databases = ["redis", "postgres", "mysql", "kafka"].map(|name| format!("  {name}: {{stack: e2e}}\n"));
    let config = Config {
        tap: databases.concat() + "  audit_include_dns: true\n",
        limits: "body: 64kb, memory: 64mb, data_ring: 64mb".to_owned(),
        ..Config::default()
    };
    let plugins = "      - type: report_usage\n      - type: access_logs\n        config: {mode: full, format: console}\n";
    let config = config.to_string();
    Agent::start_with(&config.replace("      - type: report_usage\n", plugins), &[])
}

/// `command` in a network namespace of its own, so that it has the ports of the protocols; it is about to begin.
fn alone(command: &Command) -> Program {
    let mut outer = Command::new("unshare");
    outer
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped());
    let mut program = Program::start(&mut outer);
    assert_eq!(
        program.line(Duration::from_secs(20)),
        "ready",
        "{}",
        program.errors()
    );
    program
}

/// The connections of two programs that are over, by server port and client port: both ends.
fn told(events: &Events, pid: u32) -> HashMap<(u64, u64), Vec<Value>> {
    let mut ends: HashMap<(u64, u64), Vec<Value>> = HashMap::new();
    for connection in events.finished_connections(pid) {
        let port = |end: &str| connection[end]["address"]["port"].as_u64().unwrap_or_default();
        ends.entry((port("destination"), port("source")))
            .or_default()
            .push(connection.clone());
    }
    ends
}

/// Everything that must hold of an agent after such bytes.
fn assert_unharmed(agent: &Agent, before: u64) {
    let grown = agent.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{} MiB more than before", grown >> 20);
    for metric in ["qtap_engine_panics_total", "qtap_plugin_panics_total"] {
        assert_eq!(agent.system_metric(metric, &[]), 0.0, "{metric}");
    }
    assert_nothing_in_flight(agent);
}

/// Neither the text of the access log nor the agent's own log has anything that a terminal would obey.
fn assert_harmless(agent: &Agent) {
    let lines = agent.other_output();
    for text in lines.iter().map(String::as_str).chain([agent.log().as_str()]) {
        let control = text.chars().find(|it| it.is_control() && !"\n\t\r".contains(*it));
        assert_eq!(control, None, "{text:?}");
    }
}

/// What is not as it must be of both ends of a case; counts how they were judged.
fn problems(case: &Value, called: &str, both: &[Value], seen: &mut BTreeMap<String, u32>) -> Vec<String> {
    let name = case["name"].as_str().unwrap();
    let mut problems = Vec::new();
    for connection in both {
        let capture = Capture {
            connection: connection.clone(),
            requests: Vec::new(),
            transactions: Vec::new(),
        };
        assert_sums(&capture);
        let (status, protocol) = (capture.status(), &connection["l7Protocol"]);
        *seen.entry(status.to_owned()).or_default() += 1;
        let is_right = match name {
            "sound" => status == "healthy" && connection["transactions"].as_u64() > Some(0),
            "noise" => status != "healthy",
            _ => true,
        };
        // Of another protocol, the rest went to no parser, and nothing was tried.
        if !is_right || (case["begins"] == true && protocol != called) {
            problems.push(format!("{called}, {name}: {protocol} {}", connection["health"]));
        }
    }
    problems
}

/// "hostile bytes on every protocol": those of streams. HTTP and TLS are in `hostile.rs`.
#[test]
fn a_sound_beginning_does_not_make_the_rest_believed() {
    let agent = agent();
    let before = agent.memory();
    let mut hostile = alone(&python("hostile_protocols.py"));
    let mut wrong = Vec::new();
    for (protocol, port, called) in PROTOCOLS {
        hostile.say("go");
        let said: Vec<Value> = serde_json::from_str(&hostile.line(PATIENCE)).unwrap();
        let place = |case: &Value| (u64::from(port), case["port"].as_u64().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let ends = loop {
            let ends = told(&agent.events(), hostile.pid());
            let untold = |case: &&Value| ends.get(&place(case)).is_none_or(|ends| ends.len() < 2);
            let untold: Vec<&Value> = said.iter().filter(untold).collect();
            if untold.is_empty() {
                break ends;
            }
            let lost = agent.system_metric("qtap_store_lost_total", &[]);
            assert_eq!(lost, 0.0, "{protocol}: the test does not read fast enough");
            assert!(Instant::now() < deadline, "no end of both sides of {untold:#?}");
            std::thread::sleep(Duration::from_millis(200));
        };
        let mut seen = BTreeMap::new();
        for case in &said {
            let both = &ends[&place(case)];
            assert_eq!(both.len(), 2, "{protocol}: {case}");
            wrong.extend(problems(case, called, both, &mut seen));
        }
        println!("{protocol}: {} cases, {seen:?}", said.len());
    }
    assert_unharmed(&agent, before);
    assert!(!agent.other_output().is_empty(), "no access log");
    assert_harmless(&agent);
    assert!(wrong.is_empty(), "{} ends:\n{}", wrong.len(), wrong.join("\n"));
    assert!(hostile.finish(PATIENCE).status.success());
    let _ = agent.stop();
}

/// "hostile bytes on every protocol": those of datagrams, which are DNS and QUIC.
#[test]
fn hostile_datagrams_are_counted_and_sound_ones_are_read_after_them() {
    let agent = agent();
    let before = agent.memory();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/tls/fuzz/seeds/quic");
    let mut command = quic("hostile_datagrams.py");
    command
        .arg(samples.join("rfc9001_a2_client_initial"))
        .arg(samples.join("rfc9001_a3_server_initial"));
    let mut hostile = alone(&command);
    let count = |metric: &str| agent.system_metric(metric, &[]);
    let unreadable = count("qtap_engine_dns_unreadable_total");
    hostile.say("go");
    let sent: Value = serde_json::from_str(&hostile.line(PATIENCE)).unwrap();
    let pid = hostile.pid();
    let of_program = |event: &Value, end: &str| event[end]["pid"] == pid;
    let lookups = |events: &Events| -> Vec<Value> {
        let sound = events
            .of_type("dns")
            .filter(|event| event["queryId"] == 4711 && of_program(event, "source"));
        sound.cloned().collect()
    };
    agent.wait_for("the sound query", PATIENCE, |events| !lookups(events).is_empty());
    assert!(hostile.finish(PATIENCE).status.success());
    let named = |events: &Events| -> Vec<Value> {
        let of_quic = events.finished_connections(pid);
        let sound = of_quic
            .into_iter()
            .filter(|event| event["tls"]["sni"] == "example.com");
        sound.cloned().collect()
    };
    agent.wait_for("both ends of the sound connection", PATIENCE, |events| {
        named(events).len() >= 2
    });
    assert_unharmed(&agent, before);
    assert_harmless(&agent);
    let events = agent.events();
    let query = one(&lookups(&events)).clone();
    assert_eq!(query["outcome"], "complete", "{query:#}");
    assert_eq!(query["name"], "hostile.qtap.test", "{query:#}");
    assert_eq!(query["answers"][0]["data"], json!("127.0.0.1"), "{query:#}");
    // They reached the parsers, which did not take them for anything.
    let unreadable = count("qtap_engine_dns_unreadable_total") - unreadable;
    assert!(unreadable >= 30.0, "{unreadable} of {sent}");
    println!("{unreadable} messages of DNS are unreadable of {sent}");
    let looked_at = count("qtap_engine_quic_datagrams_total");
    assert!(looked_at > 200.0, "{looked_at} of {sent}");
    let _ = agent.stop();
}
