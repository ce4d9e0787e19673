//! Programs that are new wait until they are probed, and no program is ever left waiting.
//!
//! Required: "`qtap check -- CMD` and `tap.tls.hold: true` hold a new unknown executable (hard limit 50 ms)
//! until attached; off by default", "no traced program is ever crashed".

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qtap_e2e::{
    Agent, Certificates, Cgroup, Config, Controller, Program, Side, Transport, assert_complete,
    assert_healthy, check, one, scratch, until, wait_for_listener,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest that a program takes that waits 50 ms, on a machine that does much else.
const SOON: Duration = Duration::from_millis(1500);

fn holding() -> Agent {
    Agent::start(&Config {
        tls_hold: true,
        ..Config::default()
    })
}

/// A static program, stripped: nothing of it is known before it runs.
fn go() -> PathBuf {
    let folder = std::env::var_os("QTAP_E2E_GO").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e-go"),
        PathBuf::from,
    );
    let program = folder.join("1.27.3/stripped");
    assert!(
        program.is_file(),
        "{}: run scripts/setup tests",
        program.display()
    );
    program
}

/// `count` copies of `program` in `folder`: files that nobody has met.
fn copies(program: &Path, folder: &Path, count: usize) -> Vec<PathBuf> {
    let copy = |number| {
        let path = folder.join(format!("copy-{number}"));
        std::fs::copy(program, &path).unwrap();
        path
    };
    (0..count).map(copy).collect()
}

struct Server {
    _program: Program,
    port: u16,
}

fn serve(certificates: &Certificates) -> Server {
    let mut command = Command::new(go());
    command.arg("server");
    command.arg("-cert").arg(&certificates.certificate);
    command.arg("-key").arg(&certificates.key);
    let mut program = Program::start(command.stdin(Stdio::piped()));
    let port = program.line(Duration::from_secs(20)).parse().unwrap();
    wait_for_listener(port);
    Server {
        _program: program,
        port,
    }
}

/// A client that makes one request at once, and ends.
fn client(program: &Path, certificates: &Certificates, port: u16) -> Command {
    let mut command = Command::new(program);
    command.arg("client").arg("-ca").arg(&certificates.authority);
    command.arg(format!("https://go.qtap.test:{port}/5000"));
    command
}

/// Short-lived static programs, each met for the first time: every connection is read from its first byte.
#[test]
fn short_lived_static_programs_are_read_whole() {
    const PROGRAMS: usize = 12;
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = serve(&certificates);
    let programs = copies(&go(), folder.path(), PROGRAMS);
    let agent = holding();
    let mut said = Vec::new();
    for program in &programs {
        let mut child = client(program, &certificates, server.port)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        said.push((pid, answer));
    }
    let pids: Vec<u32> = said.iter().map(|(pid, _)| *pid).collect();
    agent.wait_for_connections(&pids, PROGRAMS);
    let expired = agent.system_metric("qtap_hold_programs_total", &["expired"]);
    let probed = agent.system_metric("qtap_hold_programs_total", &["probed"]);
    println!("{probed} probed in time, {expired} let go before");
    let events = agent.stop();
    assert!(probed >= PROGRAMS as f64 - expired, "{probed} probed");
    assert_eq!(expired, 0.0, "a Go program is scanned in some milliseconds");
    for (pid, answer) in said {
        let captures = events.of_pid(pid);
        let capture = one(&captures);
        assert_healthy(capture, Transport::Tls);
        assert_eq!(capture.connection["meta"]["tlsSource"], "secrets");
        assert_complete(
            one(&capture.transactions),
            answer["sent"].as_str(),
            answer["received"].as_str(),
        );
    }
    assert_eq!(events.of_port(server.port, Side::Server).len(), PROGRAMS);
}

/// Runs each of `programs` once and returns what the slowest took. `meanwhile` is called before the one of that number.
fn slowest(programs: &[PathBuf], mut meanwhile: impl FnMut(usize)) -> Duration {
    let times = programs.iter().enumerate().map(|(number, program)| {
        meanwhile(number);
        let start = Instant::now();
        let status = Command::new(program).status().unwrap();
        assert!(status.success(), "{status}");
        start.elapsed()
    });
    times.max().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The process that holds programs for `agent`.
fn holder(agent: u32) -> Option<u32> {
    let wanted = format!("hold-programs\0--agent\0{agent}\0");
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&wanted)
    })
}

fn wait_until_gone(agent: u32) {
    until(
        Duration::from_secs(5),
        "end of the process that holds programs",
        || holder(agent).is_none(),
    );
}

/// `docs/security.md`: it keeps what fanotify(7) wants, `CAP_SYS_ADMIN`, and nothing else; its system calls are filtered.
#[test]
fn the_process_that_holds_programs_keeps_one_capability() {
    let agent = holding();
    let agent_pid = agent.pid();
    let holder = holder(agent_pid).expect("a process that holds programs");
    let status = std::fs::read_to_string(format!("/proc/{holder}/status")).unwrap();
    let only = format!("{:016x}", 1_u64 << 21);
    let none = format!("{:016x}", 0);
    for (name, expected) in [
        ("CapEff", only.as_str()),
        ("CapPrm", &only),
        ("CapInh", &none),
        ("CapBnd", &none),
        ("CapAmb", &none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let found = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        assert_eq!(found.map(str::trim), Some(expected), "{name}");
    }
    let _ = agent.stop();
    wait_until_gone(agent_pid);
}

/// What is new is not left waiting, whatever becomes of the agent: it is stopped, killed, and ended.
#[test]
fn nobody_waits_for_an_agent_that_is_stopped_killed_or_ended() {
    let folder = scratch();
    let programs = copies(Path::new("/bin/true"), folder.path(), 240);
    let (stopped, rest) = programs.split_at(80);
    let (killed, ended) = rest.split_at(80);

    let mut agent = holding();
    let pid = agent.pid();
    let took = slowest(stopped, |number| match number {
        10 => agent.signal(Signal::STOP),
        60 => agent.signal(Signal::CONT),
        _ => {}
    });
    println!("agent stopped: {took:?} at most");
    assert!(took < SOON, "{took:?}");

    let took = slowest(killed, |number| {
        if number == 40 {
            agent.signal(Signal::KILL);
        }
    });
    println!("agent killed: {took:?} at most");
    assert!(took < SOON, "{took:?}");
    agent.wait(Duration::from_secs(5));
    wait_until_gone(pid);

    let mut agent = holding();
    let pid = agent.pid();
    let took = slowest(ended, |number| {
        if number == 40 {
            agent.signal(Signal::TERM);
        }
    });
    println!("agent ended: {took:?} at most");
    assert!(took < SOON, "{took:?}");
    assert!(agent.wait(Duration::from_secs(10)).success());
    wait_until_gone(pid);
}

/// Nor for the process that holds: the kernel lets everybody go when it is killed, and the agent kills it when it is stopped.
#[test]
fn nobody_waits_for_a_holder_that_is_stopped_or_killed() {
    let folder = scratch();
    let programs = copies(Path::new("/bin/true"), folder.path(), 40);
    let (killed, stopped) = programs.split_at(20);

    let agent = holding();
    let took = slowest(killed, |number| {
        if number == 10 {
            signal(holder(agent.pid()).unwrap(), Signal::KILL);
        }
    });
    println!("holder killed: {took:?} at most");
    assert!(took < SOON, "{took:?}");
    let _ = agent.wait_for_log(&["programs are not held any more"], Duration::from_secs(5));
    let _ = agent.stop();

    let agent = holding();
    let took = slowest(stopped, |number| {
        if number == 10 {
            signal(holder(agent.pid()).unwrap(), Signal::STOP);
        }
    });
    println!("holder stopped: {took:?} at most");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let _ = agent.wait_for_log(&["programs are not held any more"], Duration::from_secs(5));
    wait_until_gone(agent.pid());
    let _ = agent.stop();
}

/// Nor when both are frozen, as `docker pause` and `systemctl freeze` do: the process that holds is in no group that can be.
#[test]
fn nobody_waits_for_an_agent_whose_control_group_is_frozen() {
    let folder = scratch();
    let programs = copies(Path::new("/bin/true"), folder.path(), 80);
    let cgroup = Cgroup::create(Controller::Freezer);
    let enter = cgroup.wrapper();
    let wrapper = enter.each_ref().map(String::as_str);
    let config = Config {
        tls_hold: true,
        ..Config::default()
    };
    let agent = Agent::start_by(&wrapper, &config.to_string(), &[]);
    let _ = agent.wait_for_log(&["programs that are new are held"], Duration::from_secs(5));
    assert_eq!(
        cgroup.pids(),
        [agent.pid()],
        "the process that holds is elsewhere"
    );
    let took = slowest(&programs, |number| match number {
        10 => cgroup.freeze(true),
        60 => cgroup.freeze(false),
        _ => {}
    });
    println!("agent frozen: {took:?} at most");
    assert!(took < SOON, "{took:?}");
    let pid = agent.pid();
    let _ = agent.stop();
    wait_until_gone(pid);
}

/// 1,000 short processes, several at a time, of files that are new and of one that is not: all end, none is stopped.
#[test]
fn a_thousand_short_processes_all_end() {
    let folder = scratch();
    let programs = copies(Path::new("/bin/true"), folder.path(), 500);
    let agent = holding();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for quarter in programs.chunks(125) {
            scope.spawn(move || {
                for program in quarter {
                    for program in [program.as_path(), Path::new("/bin/true")] {
                        assert!(Command::new(program).status().unwrap().success());
                    }
                }
            });
        }
    });
    let took = start.elapsed();
    let metric = |outcome| agent.system_metric("qtap_hold_programs_total", &[outcome]);
    let (plain, expired, failed) = (metric("plain"), metric("expired"), metric("failed"));
    println!("1,000 processes in {took:?}: {plain} found plain, {expired} let go before, {failed} failed");
    // The file that is not new is asked about once.
    assert!(
        plain >= 450.0 && plain + expired < 900.0,
        "{plain} plain, {expired} expired"
    );
    assert_eq!(failed, 0.0);
    let _ = agent.stop();
}

/// `qtap check` holds by itself, and what its command starts in its turn too: a program that nobody has met is judged healthy.
#[test]
fn a_check_waits_until_what_its_command_starts_is_probed() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = serve(&certificates);
    for program in copies(&go(), folder.path(), 4) {
        let target = client(&program, &certificates, server.port);
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo go | \"$0\" \"$@\""])
            .arg(target.get_program())
            .args(target.get_args());
        let verdict = check(&["--json"], &command);
        assert_eq!(
            verdict.code,
            Some(0),
            "{}\n{}",
            verdict.text,
            verdict.finished.errors()
        );
        let documents = verdict.json();
        let connections = documents[0]["connections"].as_array().unwrap();
        assert_eq!(one(connections)["tlsSource"], "secrets");
        assert_eq!(one(connections)["exe"], *program.to_string_lossy());
    }
}
