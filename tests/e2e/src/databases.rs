//! What the tests of databases have in common: an agent that shows all that it may, and the commands that it saw.

mod servers;

use std::time::Duration;

use serde_json::Value;

pub use self::servers::{Broker, MariaDb, Postgres, Redis, broker, mariadb, postgres, redis, tansu};
use crate::{Agent, Capture, Config, Events, Side, until};

/// Used as a password everywhere, and nowhere else: it must not be in any output.
pub const SECRET: &str = "s3cr3t-horse-battery";

/// An agent whose access log shows all that it may.
#[must_use]
pub fn agent() -> Agent {
    let config = Config {
        tap: "  redis: {stack: e2e}\n  postgres: {stack: e2e}\n  mysql: {stack: e2e}\n".to_owned(),
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

/// The one request with this statement.
pub fn find<'a>(requests: &[&'a Value], statement: &str) -> &'a Value {
    let found: Vec<_> = requests
        .iter()
        .filter(|request| request["statement"] == statement)
        .collect();
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
