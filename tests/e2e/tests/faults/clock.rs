//! A wall clock that is set.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use qtap_e2e::{
    Agent, Capture, Config, Program, PythonServer, Transport, assert_healthy, client, programs, run_ok,
    scratch, wait_for_both_ends,
};
use serde_json::Value;

/// The agent's clock alone is set: `programs/clock.c` is loaded into it.
struct Clock(PathBuf);

impl Clock {
    fn new(folder: &Path) -> (Self, Vec<String>) {
        let library = folder.join("clock.so");
        run_ok(
            Command::new("clang")
                .args(["-shared", "-fPIC", "-O1", "-o"])
                .arg(&library)
                .arg(programs().join("clock.c")),
        );
        let clock = Self(folder.join("offset"));
        clock.set(0);
        let wrapper = vec![
            "/usr/bin/env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("QTAP_CLOCK={}", clock.0.display()),
        ];
        (clock, wrapper)
    }

    fn set(&self, seconds: i64) {
        // In place: the agent has it mapped.
        let file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.0);
        file.unwrap().write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

fn seconds_of(time: &Value) -> f64 {
    let text = time.as_str().unwrap_or_else(|| panic!("not a time: {time}"));
    let parsed = run_ok(Command::new("date").args(["-u", "+%s.%N", "-d", text])).text();
    parsed.trim().parse().unwrap()
}

/// The true time.
#[expect(
    clippy::disallowed_methods,
    reason = "what the agent's clock is compared with"
)]
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

/// Durations are right, and times are near `expected` seconds of the epoch.
fn assert_times(capture: &Capture, expected: f64) {
    let connection = &capture.connection;
    let (created, closed) = (
        seconds_of(&connection["createdAt"]),
        seconds_of(&connection["closedAt"]),
    );
    assert!((created - expected).abs() < 60.0, "{expected}: {connection:#}");
    assert!((0.0..30.0).contains(&(closed - created)), "{connection:#}");
    for transaction in &capture.transactions {
        let total_ms = transaction["total_ms"].as_f64().unwrap();
        assert!((0.0..30_000.0).contains(&total_ms), "{transaction:#}");
    }
}

/// "clock jumps (…no duration uses the wall clock and … wall times stay sane when CLOCK_REALTIME shifts)": a day forward and two
/// days back, each in the middle of a connection (P-T2).
#[test]
fn a_clock_that_is_set_changes_times_and_no_duration() {
    const DAY: i64 = 86_400;
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let (clock, wrapper) = Clock::new(folder.path());
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let agent = Agent::start_by(&wrapper, &Config::default().to_string(), &[]);
    let mut clients = Vec::new();
    for offset in [0, DAY, -DAY] {
        let mut command = client("requests");
        command
            .arg(format!("http://127.0.0.1:{}/text/10", server.port))
            .args(["--gate", "--count", "2"]);
        let mut program = Program::start(command.stdin(Stdio::piped()));
        assert_eq!(program.line(Duration::from_secs(20)), "done 1");
        let before = now();
        if offset != 0 {
            clock.set(offset);
            let seconds = if offset > 0 {
                "\"seconds\":86"
            } else {
                "\"seconds\":-172"
            };
            let _ = agent.wait_for_log(
                &["\"warn\"", "the system's clock was set", seconds],
                Duration::from_secs(10),
            );
        }
        program.say("go");
        let finished = program.finish(Duration::from_secs(30));
        assert!(finished.status.success(), "{}", finished.errors());
        clients.push((finished.pid, before));
        wait_for_both_ends(&agent, server.port, clients.len());
    }
    // By the clock as it was when each connection began.
    let events = agent.stop();
    let mut expected = [0, 0, DAY].into_iter();
    for (pid, before) in clients {
        let captures = events.of_pid(pid);
        let capture = qtap_e2e::one(&captures);
        assert_healthy(capture, Transport::Plain);
        assert_eq!(capture.transactions.len(), 2);
        assert_times(capture, before + expected.next().unwrap() as f64);
    }
}
