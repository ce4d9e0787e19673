//! Bytes that no program should send: HTTP, TLS and noise. Of the other protocols: `hostile_protocols.rs`.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use qtap_e2e::{
    Agent, Capture, Config, Events, Load, Program, assert_nothing_in_flight, assert_sums, python,
};
use serde_json::Value;

/// What the agent may grow by: its budget for payload, twice the rings, and what a debug build and an allocator take.
pub(super) const GROWTH: u64 = 192 << 20;

/// The connections to a port that are over, as both ends see them.
fn connections(events: &Events, port: u16) -> impl Iterator<Item = &Value> {
    events
        .of_type("connection")
        .filter(move |event| event["finalized"] == true && event["destination"]["address"]["port"] == port)
}

/// What was said on connections of which not both ends were told finally.
fn without_both_ends(events: &Events, port: u16, said: &[Value]) -> Vec<Value> {
    let mut ends = HashMap::<u64, usize>::new();
    for connection in connections(events, port) {
        *ends
            .entry(connection["source"]["address"]["port"].as_u64().unwrap())
            .or_default() += 1;
    }
    let is_untold = |told: &&Value| ends.get(&told["port"].as_u64().unwrap()).copied() != Some(2);
    said.iter().filter(is_untold).cloned().collect()
}

/// "hostile bytes on every protocol (…: agent lives, says so in health, next connection healthy, memory bounded)".
#[test]
fn hostile_bytes_cost_their_own_connections_at_most() {
    let load = Load::new();
    let agent = Agent::start(&Config {
        limits: "body: 1mb, memory: 64mb".to_owned(),
        ..Config::default()
    });
    let _ = load.probe(&agent, "before");
    let before = agent.memory();
    let mut hostile = Program::start(python("hostile.py").stdin(Stdio::piped()));
    let port: u16 = hostile.line(Duration::from_secs(20)).parse().unwrap();
    hostile.say("go");
    let said: Vec<Value> = serde_json::from_str(&hostile.line(Duration::from_secs(120))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let untold = without_both_ends(&agent.events(), port, &said);
        if untold.is_empty() {
            break;
        }
        assert_eq!(
            agent.system_metric("qtap_store_lost_total", &[]),
            0.0,
            "the test does not read fast enough what the agent writes"
        );
        assert!(Instant::now() < deadline, "no end of both sides of {untold:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let grown = agent.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{} MiB more than before", grown >> 20);
    assert_eq!(agent.system_metric("qtap_engine_panics_total", &[]), 0.0);
    assert_eq!(agent.system_metric("qtap_plugin_panics_total", &[]), 0.0);
    assert_nothing_in_flight(&agent);
    let _ = load.probe(&agent, "after");
    let events = agent.stop();

    let mut statuses: HashMap<String, Vec<String>> = HashMap::new();
    for connection in connections(&events, port) {
        let capture = Capture {
            connection: connection.clone(),
            requests: Vec::new(),
            transactions: Vec::new(),
        };
        assert_sums(&capture);
        let client = &connection["source"]["address"]["port"];
        let told = said
            .iter()
            .find(|told| told["port"] == *client)
            .unwrap_or_else(|| panic!("nobody opened {connection:#}"));
        statuses
            .entry(told["name"].as_str().unwrap().to_owned())
            .or_default()
            .push(capture.status().to_owned());
    }
    assert_eq!(statuses.len(), said.len());
    // Nothing can be made of these, and nobody says so. (What is healthy elsewhere was captured whole, and makes no more sense.)
    for (name, statuses) in statuses {
        if ["noise", "garbage"].iter().any(|start| name.starts_with(start)) {
            assert!(!statuses.contains(&"healthy".to_owned()), "{name}: {statuses:?}");
        }
    }
}
