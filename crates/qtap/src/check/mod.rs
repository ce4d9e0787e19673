//! `qtap check`: runs a command under capture, or looks at a process, and judges each of its connections.

mod checklist;
mod collector;
mod command;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use qtap_capture::{MappingEvents, Pid};
use qtap_config::Config;
use qtap_engine::{Consumer, HealthStatus};
use qtap_probe::Admitted;
use serde_json::json;

use crate::agent::{Agent, AgentOptions, HoldProcess, Scope, open_cache, worker_count};
use crate::cli::{Check, CheckTarget, Settings};
use crate::keylog::{KeyLog, KeyLogFile};
use crate::privileges::{Confinement, Role};
use crate::signals::{Request, SignalInbox};
use checklist::Checklist;
use collector::{Collector, Seen};
use command::Held;

/// How long connections may linger after the command ended: the kernel closes them a little later.
const LINGER: Duration = Duration::from_secs(2);
/// How long what the command starts waits until it is probed. The agent's limit is shorter, as it is for everybody.
const HOLD_TIME: Duration = Duration::from_millis(500);
/// How long the command waits until its program is probed: the largest browser takes about a second.
const PROBE_TIME: Duration = Duration::from_secs(10);
/// How long `--pid` looks unless `--timeout` says otherwise.
const PID_TIME: Duration = Duration::from_secs(10);

/// Runs it. Exit code 0: every connection is healthy; 1: some are not, or there was none; 2 is the caller's, for errors.
///
/// # Errors
/// When the agent cannot start, or there is no such command or process.
pub(crate) fn run(settings: &Settings, request: &Check) -> anyhow::Result<ExitCode> {
    let collector = Collector::default();
    let mut held = match &request.target {
        CheckTarget::Command { program, arguments } => Some(Held::start(program, arguments, request.json)?),
        CheckTarget::Pid(pid) if !std::path::Path::new(&format!("/proc/{pid}")).exists() => {
            bail!("there is no process {pid}")
        }
        CheckTarget::Pid(_) => None,
    };
    let root = match (&held, &request.target) {
        (Some(held), _) => held.pid(),
        (None, CheckTarget::Pid(pid)) => Pid(*pid),
        (None, CheckTarget::Command { .. }) => bail!("the command was not started"),
    };
    let key_file = settings.key_log.as_deref().map(KeyLogFile::open).transpose()?;
    // The command has the caller's privileges: it was started before this process gives up its own.
    let mapping_events = MappingEvents::open();
    // What the command starts in its turn waits until it is probed. Without that, what is short-lived may be missed.
    let hold = held.as_ref().and_then(|_| {
        HoldProcess::start(settings.log, HOLD_TIME)
            .map_err(|error| tracing::warn!("programs that the command starts are not held: {error:#}"))
            .ok()
    });
    let confinement = Confinement::begin(Role::Check, settings.keep_privileges);
    let signals = SignalInbox::install()?;
    let mut config = Config::built_in();
    config.tap.limits.body = 0;
    let consumers = (0..worker_count())
        .map(|_| Box::new(collector.clone()) as Box<dyn Consumer>)
        .collect();
    let key_log = (key_file.zip(settings.key_log.as_deref()))
        .map(|(file, path)| KeyLog::start(file, path))
        .transpose()?;
    let agent = Agent::start(AgentOptions {
        mapping_events,
        config,
        scope: Scope::family(root),
        tls_probes: settings.tls_probes.clone(),
        trace: settings.trace.clone(),
        consumers,
        key_log: key_log.as_ref().map(KeyLog::sink),
        hold,
        cache: open_cache(&settings.cache_dir),
        drop_per_million: settings.drop_per_million,
    })?;
    confinement.finish();
    let status = match &mut held {
        Some(held) => {
            probe_ahead(&agent, held.files());
            Some(watch_command(held, request.timeout, &signals, &collector)?)
        }
        None => {
            wait(request.timeout.unwrap_or(PID_TIME), &signals, || {
                !std::path::Path::new(&format!("/proc/{}", root.0)).exists()
            });
            None
        }
    };
    let intact = agent.intact();
    agent.stop();
    if let Some(key_log) = key_log {
        key_log.stop();
    }
    intact?;
    let seen = collector.seen();
    if collector.dropped() > 0 {
        tracing::warn!(
            connections = collector.dropped(),
            "too many connections: these are not judged"
        );
    }
    report(&seen, request.json, status).context("cannot print the result")
}

/// Probes the program before it runs: this one can wait, as nobody else does.
fn probe_ahead(agent: &Agent, files: &[PathBuf]) {
    for file in files {
        match agent.probe_ahead(file, PROBE_TIME) {
            Some(Admitted::Nothing | Admitted::Probed) => {}
            Some(Admitted::Failed) => {
                tracing::debug!(file = %file.display(), "the program cannot be looked into before it runs");
            }
            None => tracing::warn!(
                file = %file.display(),
                seconds = PROBE_TIME.as_secs(),
                "the program is not looked into yet, and runs all the same"
            ),
        }
    }
}

/// Lets the command go, waits for its end and for that of its connections. Returns its exit code.
fn watch_command(
    held: &mut Held,
    timeout: Option<Duration>,
    signals: &SignalInbox,
    collector: &Collector,
) -> anyhow::Result<Option<i32>> {
    held.release()?;
    let mut ended = None;
    let finished = wait(timeout.unwrap_or(Duration::MAX), signals, || {
        ended = held.try_wait();
        ended.is_some()
    });
    if !finished {
        held.stop();
        ended = held.try_wait();
    }
    let grace = Instant::now();
    wait(LINGER, signals, || {
        grace.elapsed() > Duration::from_millis(150) && collector.all_finished()
    });
    Ok(ended.flatten())
}

/// Waits until `done`, at most `limit`, or until a signal. Tells whether it is done.
fn wait(limit: Duration, signals: &SignalInbox, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() >= limit || signals.wait(Duration::from_millis(20)) == Some(Request::Stop) {
            return done();
        }
    }
    true
}

fn report(seen: &[Seen], as_json: bool, command_status: Option<Option<i32>>) -> std::io::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    let status = overall(seen);
    if as_json {
        let connections: Vec<_> = seen.iter().map(connection_json).collect();
        let document = json!({
            "status": status.map_or("no_connections", HealthStatus::name),
            "commandExitCode": command_status.flatten(),
            "connections": connections,
        });
        writeln!(stdout, "{document:#}")?;
    } else {
        let color = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let checklist = Checklist { color };
        for connection in seen {
            writeln!(stdout, "{}", checklist.connection(connection))?;
        }
        match status {
            Some(status) => write!(stdout, "{}", checklist.summary(status, seen.len()))?,
            None => writeln!(
                stdout,
                "verdict: no connection was seen\n    what to do: check that the command uses TCP itself (not through a daemon such as dockerd) and see `qtap doctor`"
            )?,
        }
    }
    Ok(if status == Some(HealthStatus::Healthy) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// The worst of all verdicts; `None` without a connection.
fn overall(seen: &[Seen]) -> Option<HealthStatus> {
    let severity = |status: HealthStatus| match status {
        HealthStatus::Healthy => 0,
        HealthStatus::Ignored => 1,
        HealthStatus::Degraded => 2,
        HealthStatus::Blind => 3,
    };
    seen.iter()
        .map(|seen| seen.report.health.status)
        .max_by_key(|&status| severity(status))
}

fn connection_json(seen: &Seen) -> serde_json::Value {
    let report = &seen.report;
    let facts = &report.facts;
    let health = &report.health;
    let checks: serde_json::Map<String, serde_json::Value> = health
        .checks
        .iter()
        .map(|check| (check.name.name().to_owned(), check.state.name().into()))
        .collect();
    let reasons: Vec<_> = health
        .reasons
        .iter()
        .map(|reason| json!({"code": reason.code.code(), "detail": reason.detail, "remedy": reason.code.remedy()}))
        .collect();
    json!({
        "connectionId": &*facts.public_id,
        "endpointId": facts.endpoint_id(),
        "pid": facts.process.as_ref().map(|process| process.pid.0),
        "exe": facts.process.as_ref().map(|process| process.exe.as_str()),
        "local": facts.local.to_string(),
        "remote": facts.remote.to_string(),
        "direction": facts.direction.name(),
        "l7Protocol": facts.protocol.map_or("other", |protocol| protocol.name()),
        "tlsVersion": facts.tls.as_ref().and_then(|tls| tls.version).map(qtap_plugin::schema::tls_version_name),
        "sni": facts.tls.as_ref().and_then(|tls| tls.sni.as_deref()),
        "tlsSource": facts.tls.as_ref().and_then(|tls| tls.source).map(qtap_engine::TlsSource::name),
        "finalized": report.finalized,
        "transactions": seen.lines,
        "transactionCount": report.transactions,
        "health": {
            "status": health.status.name(),
            "checks": checks,
            "reasons": reasons,
            "socketBytesSent": health.socket_bytes_sent,
            "socketBytesReceived": health.socket_bytes_received,
            "socketBytesUnread": health.socket_bytes_unread,
            "capturedBytesSent": health.captured_bytes_sent,
            "capturedBytesReceived": health.captured_bytes_received,
            "gapBytes": health.gap_bytes,
            "dataEventCount": health.data_event_count,
        },
    })
}
