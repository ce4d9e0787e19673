//! Selecting what the agent said about one process, port or connection.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

/// Which end of a connection the agent describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The process dialled.
    Client,
    /// The process accepted.
    Server,
}

/// Everything about one end of one connection.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The final `connection` event.
    pub connection: Value,
    /// The `request` and `grpc_request` events.
    pub requests: Vec<Value>,
    /// The `data` of the `http_transaction` and `grpc_transaction` artifacts.
    pub transactions: Vec<Value>,
}

impl Capture {
    /// `health.status`.
    #[must_use]
    pub fn status(&self) -> &str {
        self.connection["health"]["status"].as_str().unwrap_or_default()
    }

    /// Codes of `health.reasons`.
    #[must_use]
    pub fn reasons(&self) -> Vec<&str> {
        let reasons = self.connection["health"]["reasons"].as_array();
        reasons
            .into_iter()
            .flatten()
            .filter_map(|reason| reason["code"].as_str())
            .collect()
    }
}

/// JSON lines of the agent.
#[derive(Clone, Debug, Default)]
pub struct Events(Vec<Arc<Value>>);

impl Events {
    pub(crate) fn new(events: Vec<Arc<Value>>) -> Self {
        Self(events)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|event| &**event)
    }

    /// Those with this `type`.
    pub fn of_type<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.iter().filter(move |event| event["type"] == name)
    }

    /// Final `connection` events of a process.
    #[must_use]
    pub fn finished_connections(&self, pid: u32) -> Vec<&Value> {
        self.of_type("connection")
            .filter(|event| event["finalized"] == true && pid_of(event) == Some(pid))
            .collect()
    }

    /// Everything about the connections of a process, in the order in which they opened.
    #[must_use]
    pub fn of_pid(&self, pid: u32) -> Vec<Capture> {
        self.captures(|connection| pid_of(connection) == Some(pid))
    }

    /// Everything about the connections to a port as seen by `side`, in the order in which they opened.
    #[must_use]
    pub fn of_port(&self, port: u16, side: Side) -> Vec<Capture> {
        self.captures(|connection| {
            connection["destination"]["address"]["port"] == port
                && (connection["direction"] == "ingress") == (side == Side::Server)
        })
    }

    /// Everything about the connections whose final event `wanted` selects.
    #[must_use]
    pub fn captures(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Capture> {
        let mut connections: Vec<&Value> = self
            .of_type("connection")
            .filter(|event| event["finalized"] == true && wanted(event))
            .collect();
        connections.sort_by_key(|event| event["createdAt"].as_str());
        connections
            .into_iter()
            .map(|connection| self.capture(connection))
            .collect()
    }

    fn capture(&self, connection: &Value) -> Capture {
        let id = &connection["meta"]["connectionId"];
        assert!(id.is_string(), "a connection without an id: {connection}");
        let belongs = |event: &&Value| event["connectionId"] == *id;
        Capture {
            connection: connection.clone(),
            requests: self
                .iter()
                .filter(|event| {
                    ["request", "grpc_request"].contains(&event["type"].as_str().unwrap_or_default())
                })
                .filter(belongs)
                .cloned()
                .collect(),
            transactions: self
                .of_type("artifact")
                .filter(belongs)
                .map(|event| event["data"].clone())
                .collect(),
        }
    }

    /// One line an event, for failure messages.
    #[must_use]
    pub fn outline(&self) -> String {
        let mut text = String::new();
        for event in self.0.iter().rev().take(60).rev() {
            let _ = match event["type"].as_str() {
                Some("connection") => writeln!(
                    text,
                    "connection pid={:?} {} port={} final={} health={}",
                    pid_of(event),
                    event["direction"],
                    event["destination"]["address"]["port"],
                    event["finalized"],
                    event["health"],
                ),
                Some("request" | "grpc_request") => writeln!(
                    text,
                    "request {} {} {}",
                    event["method"], event["url"], event["status"]
                ),
                other => writeln!(text, "{}", other.unwrap_or("an event without a type")),
            };
        }
        text
    }
}

/// Process at the local end.
fn pid_of(connection: &Value) -> Option<u32> {
    let local = if connection["direction"] == "ingress" {
        "destination"
    } else {
        "source"
    };
    connection[local]["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
}
