//! More processes than anybody has time to look at.

use std::process::Command;
use std::time::Duration;

use qtap_e2e::{Agent, Cgroup, Config, Controller, Load, Program, assert_nothing_in_flight, until};

/// Processes that live for a millisecond each.
const SHORT: u32 = 10_000;
/// Processes of a fork bomb at a time.
const BOMB: u64 = 500;

/// Fork and exit events that the agent had or knows that it had not.
fn counted(agent: &Agent, kind: &str) -> f64 {
    let kind = format!("kind=\"{kind}\"");
    agent.system_metric("qtap_process_received_total", &[&kind]) + lost(agent)
}

/// What was lost of processes, in the kernel and between threads.
fn lost(agent: &Agent) -> f64 {
    agent.system_metric("qtap_capture_lost_total", &["process_events_lost_ring_full"])
        + agent.system_metric("qtap_agent_lost_total", &["reason=\"process\""])
}

fn records(agent: &Agent) -> f64 {
    agent.system_metric("qtap_process_records", &["state=\"running\""])
}

/// "10,000 short processes (…: counters of processes known/lost consistent, memory bounded)".
#[test]
fn ten_thousand_short_processes_are_known_or_counted() {
    let load = Load::new();
    let agent = Agent::start(&Config::default());
    let _ = load.probe(&agent, "before");
    let (forks, exits, running, memory) = (
        counted(&agent, "fork"),
        counted(&agent, "exit"),
        records(&agent),
        agent.memory(),
    );
    let script = format!(
        "i=0; while [ $i -lt {} ]; do /bin/true || exit; i=$((i+1)); done",
        SHORT / 4
    );
    let loops: Vec<Program> = (0..4)
        .map(|_| Program::start(Command::new("/bin/sh").args(["-c", &script])))
        .collect();
    for program in loops {
        let finished = program.finish(Duration::from_secs(90));
        assert!(finished.status.success(), "{}", finished.errors());
    }
    for (kind, before) in [("fork", forks), ("exit", exits)] {
        until(Duration::from_secs(20), kind, || {
            counted(&agent, kind) - before >= f64::from(SHORT)
        });
    }
    // Those that are gone are taken off, whatever was lost.
    until(
        Duration::from_secs(60),
        "records of running processes only",
        || records(&agent) < running + 100.0,
    );
    let grown = agent.memory().saturating_sub(memory);
    assert!(grown < 96 << 20, "{} MiB more than before", grown >> 20);
    assert_nothing_in_flight(&agent);
    let capture = load.probe(&agent, "after");
    assert_eq!(capture.connection["source"]["exe"], "/usr/bin/curl");
    let _ = agent.stop();
}

/// "a bounded fork bomb (e.g. 500 processes at once in a pids-limited cgroup)", and requests of others meanwhile.
#[test]
fn a_fork_bomb_disturbs_nobody_else() {
    let load = Load::new();
    let cgroup = Cgroup::create(Controller::Processes);
    assert!(cgroup.limit(BOMB));
    let agent = Agent::start(&Config::default());
    let forks = counted(&agent, "fork");
    // Each process starts two more, for as long as the kernel lets it, and stays for a while.
    let bomb = "bomb() { bomb & bomb & sleep 4; }; bomb 2>/dev/null";
    let mut command = Command::new("/bin/sh");
    let wrapper = cgroup.wrapper();
    let [_, first @ ..] = &wrapper;
    command.args(first).args(["timeout", "20", "/bin/sh", "-c", bomb]);
    let program = Program::start(&mut command);
    let mut most = 0;
    until(Duration::from_secs(20), "a full cgroup", || {
        most = most.max(cgroup.usage());
        most >= BOMB - 10
    });
    let during: Vec<u32> = (0..5).map(|_| load.request("during")).collect();
    drop(program);
    drop(cgroup);
    until(Duration::from_secs(20), "events of the bomb", || {
        counted(&agent, "fork") - forks >= (BOMB - 10) as f64
    });
    agent.wait_for_connections(&during, during.len());
    assert_nothing_in_flight(&agent);
    let capture = load.probe(&agent, "after");
    assert_eq!(capture.connection["source"]["exe"], "/usr/bin/curl");
    let _ = agent.stop();
}
