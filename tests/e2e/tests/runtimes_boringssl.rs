//! BoringSSL, linked in and stripped, found by cross-reference: Bun, gRPC for Python, curl_cffi. Its calls are found by the errors that they make.
//!
//! Required: "static BoringSSL | Bun, Chromium headless, gRPC for Python, curl_cffi: by cross-reference".

use std::process::Command;

use qtap_e2e::{Bench, Guest, Late, Row, Side, Zoo, read_by_secrets, read_late, runtime, wheels_python};

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
        late: Late::Calls,
    }
}

fn grpc_server(bench: &Bench) -> Guest {
    Guest::start(&mut bench.server(wheels_python(), "zoo.py", "grpc-server"))
}

fn bun_server(bench: &Bench, mode: &str) -> Guest {
    Guest::start(&mut bench.server(runtime("bun/bin/bun"), "zoo.js", mode))
}

fn rows() -> Vec<Row> {
    const BUN: &str = "npm binary, stripped";
    const WHEEL: &str = "wheel, stripped";
    let grpc = |side| Row {
        side,
        server: Some(grpc_server),
        ..row("gRPC for Python", WHEEL, "http2", |b, a| python(b, "grpc", a))
    };
    vec![
        row("Bun `fetch`", BUN, "http1", |b, a| bun(b, "fetch", a)),
        row("Bun `https`", BUN, "http1", |b, a| bun(b, "https", a)),
        row("Bun `http2`", BUN, "http2", |b, a| bun(b, "http2", a)),
        Row {
            side: Side::Server,
            server: Some(|b| bun_server(b, "https-server")),
            ..row("Bun `https` server", BUN, "http1", |b, a| {
                python(b, "http.client", a)
            })
        },
        Row {
            side: Side::Server,
            server: Some(|b| bun_server(b, "http2-server")),
            ..row("Bun `http2` server", BUN, "http2", |b, a| {
                python(b, "httpx-h2", a)
            })
        },
        grpc(Side::Client),
        grpc(Side::Server),
        row("curl_cffi", "wheel, with symbols", "http1", |b, a| {
            python(b, "curl_cffi", a)
        }),
        row("curl_cffi", "wheel, with symbols", "http2", |b, a| {
            python(b, "curl_cffi-h2", a)
        }),
    ]
}

/// Every one, whole and exact, by secrets alone.
#[test]
fn every_boringssl_is_read_by_secrets() {
    let mut zoo = Zoo::open("boringssl");
    read_by_secrets(&mut zoo, &rows());
    zoo.finish();
}

/// Connections older than the agent are read by calls, with names or without.
#[test]
fn every_boringssl_is_read_by_calls_when_the_agent_comes_late() {
    let mut zoo = Zoo::open("boringssl-late");
    read_late(&mut zoo, &rows());
    zoo.finish();
}
