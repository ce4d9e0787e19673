//! One process that opens and closes TLS connections without end (`programs/tls_churn.c`: OpenSSL, both ends in it).
//!
//! Required: "Safety: 100,000 TLS connections opened and closed in one process leave every in-flight map empty". How many are made is a
//! setting, `QTAP_E2E_TLS_CONNECTIONS`: 5,000 unless it says otherwise, as 100,000 take some minutes; `make churn` makes those.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{
    Agent, Certificates, Config, Program, assert_nothing_in_flight, http_get, is_flagged, outline, programs,
    run_ok, scratch, until,
};
use serde_json::Value;

/// Connections of a test run, each seen at both ends.
const CONNECTIONS: u64 = 5_000;
/// Connections made between two looks at the agent.
const ROUND: u64 = 2_500;
/// What a round may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the agent counts connections that ended, at least.
const COUNTED: Duration = Duration::from_secs(590);
/// What the agent may hold more after the last round than after the first.
const GROWTH: u64 = 32 << 20;
/// What it may hold more than at its start while it works.
const MOST: u64 = 256 << 20;

/// The program, waiting for a number of connections to make.
struct Churn(Program);

impl Churn {
    fn start() -> (Self, tempfile::TempDir) {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let program = folder.path().join("tls_churn");
        run_ok(
            Command::new("cc")
                .args(["-O2", "-o"])
                .arg(&program)
                .arg(programs().join("tls_churn.c"))
                .args(["-lssl", "-lcrypto"]),
        );
        let mut command = Command::new(&program);
        command
            .args([
                &certificates.certificate,
                &certificates.key,
                &certificates.authority,
            ])
            .stdin(Stdio::piped());
        let mut program = Program::start(&mut command);
        assert!(program.line(PATIENCE).contains("port"));
        (Self(program), folder)
    }

    /// Makes connections; returns the milliseconds that it took.
    fn make(&mut self, count: u64) -> u64 {
        self.0.say(&count.to_string());
        let said: Value = serde_json::from_str(&self.0.line(PATIENCE)).expect("JSON");
        assert_eq!(said["made"], count);
        said["milliseconds"].as_u64().expect("a time")
    }
}

/// What the agent says of a process.
#[derive(Debug, Default)]
struct Account {
    /// Connections by what became of them.
    connections: BTreeMap<String, u64>,
    /// What is amiss with some, by code.
    reasons: Vec<String>,
}

impl Account {
    fn of(agent: &Agent, pid: u32) -> Self {
        let (status, text) =
            http_get(agent.status_server(), "/status").expect("an answer of the status server");
        assert_eq!(status, 200);
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let mut processes = document["processes"].as_array().into_iter().flatten();
        let Some(found) = processes.rfind(|process| process["pid"] == pid) else {
            return Self::default();
        };
        let numbers = found["connections"].as_object().into_iter().flatten();
        let reasons = found["reasons"].as_array().into_iter().flatten();
        Self {
            connections: numbers
                .filter_map(|(name, number)| Some((name.clone(), number.as_u64()?)))
                .collect(),
            reasons: reasons
                .filter_map(|reason| Some(reason["code"].as_str()?.to_owned()))
                .collect(),
        }
    }

    fn count(&self, what: &str) -> u64 {
        self.connections.get(what).copied().unwrap_or_default()
    }
}

/// Connections that the agent knows it did not see, of whatever process.
fn connections_lost(agent: &Agent) -> f64 {
    let kernel = [
        "connections_table_full",
        "connections_lost_ring_full",
        "connections_lost_unseen",
        "closed_lost_ring_full",
    ];
    let in_kernel: f64 = kernel
        .iter()
        .map(|reason| agent.system_metric("qtap_capture_lost_total", &[&format!("\"{reason}\"")]))
        .sum();
    in_kernel
        + agent.system_metric("qtap_engine_lost_total", &["control_queue_full"])
        + agent.system_metric("qtap_engine_lost_total", &["connection_end"])
}

/// All that may keep a connection from being read.
fn lost_at_all(agent: &Agent) -> f64 {
    agent.system_metric("qtap_capture_lost_total", &[]) + agent.system_metric("qtap_engine_lost_total", &[])
}

/// The numbers are all that is printed: 200,000 connections would be 200,000 lines and more.
fn quiet(source: &str) -> String {
    format!(
        "version: 2\ntap:\n  direction: all\n  ignore_loopback: false\n  limits: {{cpu_percent: 100000}}\n  tls: {{source: {source}}}\n"
    )
}

fn connections() -> u64 {
    match std::env::var("QTAP_E2E_TLS_CONNECTIONS") {
        Ok(number) => number.parse().expect("a number of connections"),
        Err(_) => CONNECTIONS,
    }
}

/// Makes so many; every one of them is seen or counted, and nothing of them stays.
fn churn(source: &str, count: u64, by: &str) {
    let (mut churn, _folder) = Churn::start();
    let pid = churn.0.pid();
    let agent = Agent::start_with(&quiet(source), &[]);
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let at_start = agent.memory();
    let (mut made, mut took, mut after_first, mut most) = (0, 0, 0, 0);
    while made < count {
        let round = ROUND.min(count - made);
        took += churn.make(round);
        made += round;
        most = most.max(agent.memory());
        // Both ends of each are seen or counted as lost.
        until(PATIENCE, "the ends of all connections", || {
            let ended = Account::of(&agent, pid).count("ended");
            assert!(ended <= 2 * made, "{ended} connections of {made}");
            ended as f64 + connections_lost(&agent) >= 2.0 * made as f64
        });
        // Everything of them is gone, while their process lives.
        assert_nothing_in_flight(&agent);
        if after_first == 0 {
            after_first = agent.memory();
        }
    }
    assert!(
        start.elapsed() < COUNTED,
        "too slow: the agent does not count what is longer ago"
    );
    let account = Account::of(&agent, pid);
    let memory = [at_start, after_first, most, agent.memory()].map(|bytes| bytes >> 20);
    println!(
        "{source}: {made} connections in {took} ms; memory in MiB at the start, after the first {ROUND}, at most, at the end: {memory:?}; \
         {account:?}; lost: {} connections, {} in all",
        connections_lost(&agent),
        lost_at_all(&agent)
    );
    assert!(
        agent.memory().saturating_sub(after_first) < GROWTH,
        "{memory:?} MiB"
    );
    assert!(most.saturating_sub(at_start) < MOST, "{memory:?} MiB");
    if lost_at_all(&agent) == 0.0 {
        for what in ["ended", by] {
            assert_eq!(account.count(what), 2 * made, "{what}: {account:?}");
        }
        // Nobody wants the requests.
        assert_eq!(account.reasons, ["no_stack"], "{account:?}");
    }
    assert!(churn.0.finish(PATIENCE).status.success());
    assert_nothing_in_flight(&agent);
    let _ = agent.stop();
}

/// "100,000 TLS connections opened and closed in one process leave every in-flight map empty", read by secrets.
#[test]
fn connections_without_end_leave_nothing_behind_when_they_are_read_by_secrets() {
    churn("auto", connections(), "bySecrets");
}

/// The same, a fifth of them, read by calls.
#[test]
fn connections_without_end_leave_nothing_behind_when_they_are_read_by_calls() {
    churn("calls", connections() / 5, "byCalls");
}

/// The addresses of session objects are used over and over: each request is seen on its own connection, with its own response, whichever
/// way they are read.
#[test]
fn objects_that_are_used_again_are_not_mistaken_for_those_before() {
    const COUNT: u64 = 1000;
    for source in ["auto", "calls"] {
        let (mut churn, _folder) = Churn::start();
        let pid = churn.0.pid();
        let agent = Agent::start(&Config {
            tls_source: source,
            ..Config::default()
        });
        std::thread::sleep(Duration::from_secs(1));
        churn.make(COUNT);
        agent.wait_for("both ends of all connections", PATIENCE, |events| {
            events.finished_connections(pid).len() as u64 >= 2 * COUNT
        });
        let captures = agent.stop().of_pid(pid);
        assert_eq!(captures.len() as u64, 2 * COUNT);
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for capture in &captures {
            let [transaction] = &capture.transactions[..] else {
                panic!("{source}: one request expected: {capture:#?}");
            };
            assert!(!is_flagged(transaction), "{source}: {}", outline(transaction));
            let path = transaction["request"]["path"].as_str().unwrap_or_default();
            let body = transaction["response"]["body"].as_str().unwrap_or_default();
            let body = STANDARD.decode(body).expect("a body in base64");
            let number = path.trim_start_matches('/');
            assert_eq!(
                body,
                format!("[{number}]").into_bytes(),
                "{source}: {}",
                outline(transaction)
            );
            *seen.entry(number.to_owned()).or_default() += 1;
        }
        assert_eq!(seen.len() as u64, COUNT, "{source}");
        assert!(seen.values().all(|ends| *ends == 2), "{source}: {seen:?}");
        assert!(churn.0.finish(PATIENCE).status.success());
    }
}
