//! What the tests of databases have in common: an agent that shows all that it may, and the commands that it saw.

mod servers;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

pub use self::servers::{Broker, MariaDb, Postgres, Redis, broker, mariadb, postgres, redis, tansu};
use crate::{
    Agent, Capture, Config, Events, Side, free_port, node_clients, programs, python, run_ok, runtime, until,
};

/// Connections of [`speak_otherwise`].
pub const OTHERWISE: usize = 20;

/// Used as a password everywhere, and nowhere else: it must not be in any output.
pub const SECRET: &str = "s3cr3t-horse-battery";

/// An agent whose access log shows all that it may by default, and parameters of MySQL.
#[must_use]
pub fn agent() -> Agent {
    agent_with(&["redis", "postgres", "mysql, parameters: true", "kafka"])
}

/// An agent that parses these databases: the name of each, and settings beside its stack.
#[must_use]
pub fn agent_with(databases: &[&str]) -> Agent {
    let line = |entry: &&str| {
        let (name, settings) = entry.split_once(',').unwrap_or((entry, ""));
        format!("  {name}: {{stack: e2e, {settings}}}\n")
    };
    let config = Config {
        tap: databases.iter().map(line).collect(),
        // A statement of 17 MiB is sent in one call.
        limits: "body: 1mb, call: 32mb, data_ring: 64mb".to_owned(),
        ..Config::default()
    };
    let plugins =
        "      - type: report_usage\n      - type: access_logs\n        config: {mode: full, format: json}\n";
    Agent::start_with(
        &config
            .to_string()
            .replace("      - type: report_usage\n", plugins),
        &["--log-level", "debug"],
    )
}

/// Stops the agent; the password is in nothing that it wrote.
fn stop(agent: Agent) -> Events {
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
    events
}

/// `database_request` events of one connection.
#[must_use]
pub fn of_connection<'a>(events: &'a Events, capture: &Capture) -> Vec<&'a Value> {
    let id = &capture.connection["meta"]["connectionId"];
    events
        .of_type("database_request")
        .filter(|event| event["connectionId"] == *id)
        .collect()
}

/// Their statements.
#[must_use]
pub fn statements(requests: &[&Value]) -> Vec<String> {
    requests
        .iter()
        .map(|request| request["statement"].as_str().expect("a text").to_owned())
        .collect()
}

/// All with this statement.
#[must_use]
pub fn all<'a>(requests: &[&'a Value], statement: &str) -> Vec<&'a Value> {
    let has_it = |request: &&&Value| request["statement"] == statement;
    requests.iter().filter(has_it).copied().collect()
}

/// What the access log showed of the results of a statement, one for each time and end.
#[must_use]
pub fn shown<'a>(events: &'a Events, statement: &str) -> Vec<&'a str> {
    let logged = events
        .iter()
        .filter(|event| event["msg"] == "database transaction" && event["command"]["query"] == statement);
    logged
        .filter_map(|event| event["result"]["value"].as_str())
        .collect()
}

/// The one request with this statement.
pub fn find<'a>(requests: &[&'a Value], statement: &str) -> &'a Value {
    let found = all(requests, statement);
    assert_eq!(found.len(), 1, "{statement}: {:#?}", statements(requests));
    found[0]
}

/// Both ends of the finished connections to a port, once there are as many as expected.
#[must_use]
pub fn ends(agent: Agent, port: u16, connections: usize) -> (Events, Vec<Capture>, Vec<Capture>) {
    until(Duration::from_secs(20), "both ends of every connection", || {
        let events = agent.events();
        [Side::Client, Side::Server]
            .iter()
            .all(|side| events.of_port(port, *side).len() >= connections)
    });
    let events = stop(agent);
    let (clients, servers) = (
        events.of_port(port, Side::Client),
        events.of_port(port, Side::Server),
    );
    assert_eq!((clients.len(), servers.len()), (connections, connections));
    (events, clients, servers)
}

/// A program for Node with the clients of databases: its arguments begin with the port and the password.
#[must_use]
pub fn node_client(program: &str, port: u16) -> Command {
    let mut command = Command::new(runtime("node-22").join("bin/node"));
    command
        .arg(programs().join(program))
        .args([&port.to_string(), SECRET])
        .env("NODE_PATH", node_clients());
    command
}

/// Peers whose bytes begin like those of a protocol (redis, kafka) and are none, on [`OTHERWISE`] connections to the port returned.
#[must_use]
pub fn speak_otherwise(protocol: &str) -> u16 {
    let port = free_port();
    run_ok(python("other_bytes.py").args([&port.to_string(), protocol]));
    port
}

/// "never mislabels".
pub fn assert_is_other(capture: &Capture) {
    let connection = &capture.connection;
    assert_eq!(connection["l7Protocol"], "other", "{connection:#}");
}
