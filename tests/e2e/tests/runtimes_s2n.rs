//! s2n-tls, linked into the AWS Common Runtime for Python: with symbols as its wheel has it, and without.
//!
//! Required: "wolfSSL, mbedTLS, s2n | Debian's libraries with a small client". Debian has no s2n; the wheel is what people run.

use std::path::PathBuf;
use std::process::Command;

use qtap_e2e::{
    Bench, Guest, Late, Row, Side, Zoo, read_by_secrets, read_late, run_ok, runtime, wheels_python,
};

/// The wheel's code is padded with prefixes, before the first instruction of `s2n_recv` too, where the kernel puts no probe then.
const BLIND: Late = Late::Blind("joined_midstream");
const WHEEL: &str = "awscrt wheel, linked in";
const STRIPPED: &str = "awscrt wheel, linked in, stripped";
/// Security policies of s2n: the newest suites of TLS 1.3 and 1.2, and nothing newer than 1.2.
const TLS13: &str = "default_tls13";
const TLS12: &str = "ELBSecurityPolicy-TLS-1-2-2017-01";

/// The interpreter that finds awscrt. Not resolved: it finds its packages by the path it was called by.
fn python() -> PathBuf {
    runtime("s2n").join("bin/python")
}

/// The file with s2n in it, and a copy without symbols but the exported ones.
fn library(bench: &Bench, is_stripped: bool) -> PathBuf {
    let script = "import importlib.util as u; print(u.find_spec('_awscrt').origin)";
    let said = run_ok(Command::new(python()).args(["-c", script])).text();
    let built = PathBuf::from(said.trim());
    if !is_stripped {
        return built;
    }
    let stripped = bench.folder().join("stripped.so");
    if !stripped.exists() {
        run_ok(Command::new("strip").arg("-o").arg(&stripped).arg(&built));
    }
    stripped
}

fn with(mut command: Command, bench: &Bench, policy: &str, is_stripped: bool) -> Command {
    command.env("S2N_LIBRARY", library(bench, is_stripped));
    command.env("S2N_POLICY", policy);
    command
}

fn client(bench: &Bench, address: &str, policy: &str, is_stripped: bool) -> Command {
    let command = bench.client(python(), "zoo_s2n.py", "client", address);
    with(command, bench, policy, is_stripped)
}

fn server(bench: &Bench, policy: &str, is_stripped: bool) -> Guest {
    let command = bench.server(python(), "zoo_s2n.py", "server");
    Guest::start(&mut with(command, bench, policy, is_stripped))
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
        implementation: "s2n",
        client,
        server: None,
        late: BLIND,
    }
}

fn rows() -> Vec<Row> {
    let serving = |name, build, server| Row {
        side: Side::Server,
        server: Some(server),
        ..row(name, build, "http1", |b, a| {
            b.client(wheels_python(), "zoo.py", "http.client", a)
        })
    };
    vec![
        row("AWS CRT for Python", WHEEL, "http1", |b, a| {
            b.client(python(), "zoo_s2n.py", "crt", a)
        }),
        row("AWS CRT for Python", WHEEL, "http2", |b, a| {
            b.client(python(), "zoo_s2n.py", "crt-h2", a)
        }),
        row("s2n-tls, TLS 1.3", WHEEL, "http1", |b, a| {
            client(b, a, TLS13, false)
        }),
        row("s2n-tls, TLS 1.2", WHEEL, "http1", |b, a| {
            client(b, a, TLS12, false)
        }),
        row("s2n-tls, TLS 1.3", STRIPPED, "http1", |b, a| {
            client(b, a, TLS13, true)
        }),
        row("s2n-tls, TLS 1.2", STRIPPED, "http1", |b, a| {
            client(b, a, TLS12, true)
        }),
        serving("s2n-tls, TLS 1.3", WHEEL, |b| server(b, TLS13, false)),
        serving("s2n-tls, TLS 1.2", WHEEL, |b| server(b, TLS12, false)),
        serving("s2n-tls, TLS 1.3", STRIPPED, |b| server(b, TLS13, true)),
        serving("s2n-tls, TLS 1.2", STRIPPED, |b| server(b, TLS12, true)),
    ]
}

/// Every one, whole and exact, by secrets alone.
#[test]
fn every_s2n_is_read_by_secrets() {
    let mut zoo = Zoo::open("s2n");
    read_by_secrets(&mut zoo, &rows());
    zoo.finish();
}

/// Connections older than the agent are blind, and say so.
#[test]
fn s2n_says_that_it_is_blind_when_the_agent_comes_late() {
    let mut zoo = Zoo::open("s2n-late");
    read_late(&mut zoo, &rows());
    zoo.finish();
}
