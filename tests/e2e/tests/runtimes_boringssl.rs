//! BoringSSL, linked in and stripped, found by cross-reference: Bun, gRPC for Python, curl_cffi, Chromium.
//!
//! Issue "TLS by secrets everywhere": "static BoringSSL | Bun, Chromium headless, gRPC for Python, curl_cffi: by cross-reference".

use std::process::Command;

use qtap_e2e::{Bench, Guest, Late, Row, Side, Zoo, read_by_secrets, read_late, runtime, wheels_python};

/// Without names there are no calls to probe.
const BLIND: Late = Late::Blind("joined_midstream");

fn bun(bench: &Bench, mode: &str, address: &str) -> Command {
    bench.client(runtime("bun/bin/bun"), "zoo.js", mode, address)
}

fn python(bench: &Bench, mode: &str, address: &str) -> Command {
    bench.client(wheels_python(), "zoo.py", mode, address)
}

const fn row(
    name: &'static str,
    build: &'static str,
    protocol: &'static str,
    late: Late,
    client: fn(&Bench, &str) -> Command,
) -> Row {
    Row {
        name,
        build,
        side: Side::Client,
        protocol,
        implementation: "boringssl",
        client,
        server: None,
        late,
    }
}

fn grpc_server(bench: &Bench) -> Guest {
    Guest::start(&mut bench.server(wheels_python(), "zoo.py", "grpc-server"))
}

fn bun_server(bench: &Bench) -> Guest {
    Guest::start(&mut bench.server(runtime("bun/bin/bun"), "zoo.js", "https-server"))
}

fn rows() -> Vec<Row> {
    const BUN: &str = "npm binary, stripped";
    const WHEEL: &str = "wheel, stripped";
    let grpc = |side| Row {
        side,
        server: Some(grpc_server),
        ..row("gRPC for Python", WHEEL, "http2", BLIND, |b, a| {
            python(b, "grpc", a)
        })
    };
    vec![
        row("Bun `fetch`", BUN, "http1", BLIND, |b, a| bun(b, "fetch", a)),
        row("Bun `https`", BUN, "http1", BLIND, |b, a| bun(b, "https", a)),
        row("Bun `http2`", BUN, "http2", BLIND, |b, a| bun(b, "http2", a)),
        Row {
            side: Side::Server,
            server: Some(bun_server),
            ..row("Bun `https` server", BUN, "http1", BLIND, |b, a| {
                python(b, "http.client", a)
            })
        },
        grpc(Side::Client),
        grpc(Side::Server),
        row(
            "curl_cffi",
            "wheel, with symbols",
            "http1",
            Late::Calls,
            |b, a| python(b, "curl_cffi", a),
        ),
        row(
            "curl_cffi",
            "wheel, with symbols",
            "http2",
            Late::Calls,
            |b, a| python(b, "curl_cffi-h2", a),
        ),
    ]
}

/// Every one, whole and exact, by secrets alone.
#[test]
fn every_boringssl_is_read_by_secrets() {
    let mut zoo = Zoo::open("boringssl");
    read_by_secrets(&mut zoo, &rows());
    zoo.finish();
}

/// Connections older than the agent: by calls where they have names, else blind with a reason.
#[test]
fn boringssl_without_names_says_that_it_is_blind_when_the_agent_comes_late() {
    let mut zoo = Zoo::open("boringssl-late");
    read_late(&mut zoo, &rows());
    zoo.finish();
}
