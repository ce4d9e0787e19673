//! Node.js from 16 to the newest: `https`, `fetch`, `http2`, and servers of them, `cluster` too.
//!
//! Required: "Node.js | 18, 20, 22, 24 and newest: https, fetch, http2, cluster".

use std::process::Command;

use qtap_e2e::{Bench, Guest, Late, Row, Side, Zoo, read_by_secrets, read_late, runtime, wheels_python};

const BUILD: &str = "npm binary, OpenSSL linked in";

fn node(bench: &Bench, version: &str, mode: &str, address: &str) -> Command {
    bench.client(runtime(version).join("bin/node"), "zoo.js", mode, address)
}

fn node_server(bench: &Bench, version: &str, mode: &str) -> Guest {
    Guest::spawn(&mut bench.server(runtime(version).join("bin/node"), "zoo.js", mode))
}

macro_rules! node_client {
    ($version:literal, $mode:literal, $protocol:literal, $late:expr) => {
        Row {
            name: concat!("Node.js `", $mode, "`"),
            build: BUILD,
            side: Side::Client,
            protocol: $protocol,
            implementation: "openssl",
            client: |bench, address| node(bench, concat!("node-", $version), $mode, address),
            server: None,
            late: $late,
        }
    };
}

macro_rules! node_server {
    ($version:literal, $mode:literal, $name:literal, $protocol:literal, $peer:literal) => {
        Row {
            name: concat!("Node.js ", $name),
            build: BUILD,
            side: Side::Server,
            protocol: $protocol,
            implementation: "openssl",
            client: |bench, address| bench.client(wheels_python(), "zoo.py", $peer, address),
            server: Some(|bench| node_server(bench, concat!("node-", $version), $mode)),
            late: Late::Calls,
        }
    };
}

macro_rules! node_rows {
    ($version:literal) => {
        [
            node_client!($version, "https", "http1", Late::Calls),
            node_client!($version, "http2", "http2", Late::Calls),
            node_server!($version, "https-server", "`https` server", "http1", "http.client"),
            node_server!($version, "http2-server", "`http2` server", "http2", "httpx-h2"),
            node_server!($version, "cluster", "`cluster`", "http1", "http.client"),
            node_server!($version, "cluster-http2", "`cluster`", "http2", "httpx-h2"),
        ]
    };
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(node_rows!("16"));
    rows.extend(node_rows!("18"));
    rows.extend(node_rows!("20"));
    rows.extend(node_rows!("22"));
    rows.extend(node_rows!("24"));
    rows.extend(node_rows!("26"));
    rows.extend([
        node_client!("18", "fetch", "http1", Late::Calls),
        node_client!("20", "fetch", "http1", Late::Calls),
        node_client!("22", "fetch", "http1", Late::Calls),
        node_client!("24", "fetch", "http1", Late::Calls),
        node_client!("26", "fetch", "http2", Late::Calls),
        // It takes HTTP/2 where it is offered.
        Row {
            server: Some(|bench| {
                Guest::spawn(&mut bench.server(wheels_python(), "zoo.py", "asyncio-server"))
            }),
            ..node_client!("26", "fetch", "http1", Late::Calls)
        },
    ]);
    rows
}

/// Every version, client and server, whole and exact, by secrets alone.
#[test]
fn every_node_is_read_by_secrets() {
    let mut zoo = Zoo::open("node");
    read_by_secrets(&mut zoo, &rows());
    zoo.finish();
}

/// Connections older than the agent are read by calls, but for the known fault.
#[test]
fn every_node_is_read_by_calls_when_the_agent_comes_late() {
    let mut zoo = Zoo::open("node-late");
    read_late(&mut zoo, &rows());
    zoo.finish();
}
