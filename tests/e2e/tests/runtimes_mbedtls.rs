//! Mbed TLS 3, as Debian 13 has it, with TLS 1.3 and 1.2; 2.28 of Debian 12 is in `runtimes_native`.

use std::path::{Path, PathBuf};
use std::process::Command;

use qtap_e2e::{
    Bench, Guest, Late, Row, Side, Zoo, programs, read_by_secrets, read_late, run_ok, runtime, wheels_python,
};

const BUILD: &str = "Debian, shared";

/// Builds `programs/runtimes/zoo_mbedtls3.c` against the libraries that `scripts/setup-runtimes` unpacked.
fn program(folder: &Path) -> PathBuf {
    let program = folder.join("zoo_mbedtls3");
    if program.exists() {
        return program;
    }
    let root = runtime("mbedtls-3");
    let libraries = root.join("lib");
    run_ok(
        Command::new("cc")
            .args(["-O1", "-o"])
            .arg(&program)
            .arg(programs().join("runtimes/zoo_mbedtls3.c"))
            .arg("-I")
            .arg(root.join("include"))
            .arg("-L")
            .arg(&libraries)
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .args(["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]),
    );
    program
}

fn client(bench: &Bench, address: &str, version: &str) -> Command {
    let port = address.rsplit(':').next().unwrap_or_default();
    let mut command = Command::new(program(bench.folder()));
    command.args(["client", port]);
    command
        .arg(&bench.certificates.authority)
        .arg(&bench.matter.posted);
    command.env("MBEDTLS_TLS", version);
    command
}

fn server(bench: &Bench, version: &str) -> Guest {
    let mut command = Command::new(program(bench.folder()));
    command
        .arg("server")
        .arg(&bench.certificates.certificate)
        .arg(&bench.certificates.key)
        .arg(&bench.matter.document);
    command.env("MBEDTLS_TLS", version);
    Guest::start(&mut command)
}

const fn row(name: &'static str, client: fn(&Bench, &str) -> Command) -> Row {
    Row {
        name,
        build: BUILD,
        side: Side::Client,
        protocol: "http1",
        implementation: "mbedtls",
        client,
        server: None,
        late: Late::Calls,
    }
}

fn rows() -> Vec<Row> {
    let serving = |name, server| Row {
        side: Side::Server,
        server: Some(server),
        ..row(name, |b, a| b.client(wheels_python(), "zoo.py", "http.client", a))
    };
    vec![
        row("Mbed TLS in C, TLS 1.3", |b, a| client(b, a, "1.3")),
        row("Mbed TLS in C, TLS 1.2", |b, a| client(b, a, "1.2")),
        serving("Mbed TLS in C, TLS 1.3", |b| server(b, "1.3")),
        serving("Mbed TLS in C, TLS 1.2", |b| server(b, "1.2")),
    ]
}

/// Every one, whole and exact, by secrets alone.
#[test]
fn every_mbedtls_3_is_read_by_secrets() {
    let mut zoo = Zoo::open("mbedtls-3");
    read_by_secrets(&mut zoo, &rows());
    zoo.finish();
}

/// Connections older than the agent: from the next call on.
#[test]
fn every_mbedtls_3_is_read_by_calls_when_the_agent_comes_late() {
    let mut zoo = Zoo::open("mbedtls-3-late");
    read_late(&mut zoo, &rows());
    zoo.finish();
}
