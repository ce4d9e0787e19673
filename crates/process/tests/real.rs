//! Real processes: events are made as the kernel side makes them, from what /proc shows at that moment.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use qtap_capture::{KernelTime, Pid, ProcessEvent, ProcessExec};
use qtap_config::ProcessTag;
use qtap_process::{Limits, Strategy, table};

/// A child that is killed and reaped whatever the test does.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guard {
    fn shell(script: &str) -> Self {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid(self.0.id())
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim().to_owned()
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// In the middle of an exec there is the new executable already, and no argument yet.
fn runs_sleep(pid: Pid) -> bool {
    let cmdline = fs::read(format!("/proc/{}/cmdline", pid.0)).unwrap_or_default();
    exe(pid).contains("sleep") && cmdline.starts_with(b"sleep")
}

fn exe(pid: Pid) -> String {
    fs::read_link(format!("/proc/{}/exe", pid.0))
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// Start in nanoseconds within the tick that /proc shows, as the kernel would give it.
fn start_ns(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.0)).unwrap();
    let ticks: u64 = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(19)
        .unwrap()
        .parse()
        .unwrap();
    ticks * 10_000_000 + 3_456_789
}

fn exec_event(pid: Pid, time: u64, filename: &str, args: &[&str], environment: Option<&str>) -> ProcessEvent {
    let block: String = args.iter().map(|arg| format!("{arg}\0")).collect();
    ProcessEvent::Exec(Box::new(ProcessExec {
        pid,
        parent: Pid(std::process::id()),
        time: KernelTime(time),
        start_ns: start_ns(pid),
        uid: 0,
        filename: Bytes::copy_from_slice(filename.as_bytes()),
        args: Bytes::from(block.into_bytes()),
        environment: environment.map(|text| Bytes::copy_from_slice(text.as_bytes())),
        cgroup_id: 1,
    }))
}

#[test]
fn a_fork_without_exec_inherits_the_running_record() {
    let mut shell = Guard::shell("exec 3<&0; read go; (read x <&3) & echo $!; wait");
    let (table, mut writer) = table(Limits::default(), &[]);
    writer.snapshot().unwrap();
    shell.say("go");
    let child = Pid(shell.line().parse().unwrap());
    let event = ProcessEvent::Forked {
        pid: child,
        parent: shell.pid(),
        start_ns: start_ns(child),
        time: KernelTime(u64::MAX / 2),
    };
    writer.handle(event);

    let parent = table.find(shell.pid()).unwrap();
    let record = table.find(child).unwrap();
    assert_eq!(record.exe, exe(child));
    assert_eq!(
        (&record.exe, &record.args, &record.user),
        (&parent.exe, &parent.args, &parent.user)
    );
    assert_eq!(record.parent, Some(shell.pid()));
    assert!(parent.predates_agent && !record.predates_agent);
    // A snapshot on top finds nothing new about either.
    assert!(
        writer
            .snapshot()
            .unwrap()
            .iter()
            .all(|process| process.pid != child && process.pid != shell.pid())
    );
    shell.say("end");
}

#[test]
fn a_chain_of_execs_keeps_each_image_at_its_time() {
    let mut shell = Guard::shell("read go; exec env -i QPOINT_STRATEGY=audit sleep 30");
    let pid = shell.pid();
    wait_for("the shell runs", || exe(pid) != exe(Pid(std::process::id())));
    let (table, mut writer) = table(Limits::default(), &[]);
    writer.snapshot().unwrap();
    let shell_exe = exe(pid);
    shell.say("go");
    wait_for("the chain is through", || runs_sleep(pid));
    let env_args = ["env", "-i", "QPOINT_STRATEGY=audit", "sleep", "30"];
    writer.handle(exec_event(pid, 100, "/usr/bin/env", &env_args, Some("")));
    writer.handle(exec_event(
        pid,
        200,
        "/usr/bin/sleep",
        &["sleep", "30"],
        Some("QPOINT_STRATEGY=audit\0"),
    ));

    let at = |time| table.find_at(pid, KernelTime(time)).unwrap();
    assert_eq!(at(50).exe, shell_exe);
    assert_eq!(
        (at(150).exe.as_str(), at(150).strategy),
        ("/usr/bin/env", Strategy::Observe)
    );
    assert_eq!(
        (at(250).exe.as_str(), at(250).strategy),
        (exe(pid).as_str(), Strategy::Audit)
    );
    assert_eq!(at(250).args, ["sleep", "30"]);
    assert_eq!(at(250).user.name.as_deref(), Some("root"));
    assert!(at(250).hostname.is_some());
    assert_eq!(table.stats().unread, 1, "only env was gone");
}

#[test]
fn the_environment_decides_strategy_and_tags() {
    let sleep = |environment: &[(&str, &str)]| {
        let mut command = Command::new("sleep");
        command
            .arg("30")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().copied());
        Guard(command.spawn().unwrap())
    };
    let padding = "x".repeat(60_000);
    let long = sleep(&[
        ("A_LONG_ONE", &padding),
        ("QPOINT_STRATEGY", "ignore,suffix:/sleep"),
        ("TEAM", "blue"),
    ]);
    let other = sleep(&[
        ("QPOINT_STRATEGY", "ignore,exact:/bin/other"),
        ("QPOINT_TAGS", "k:v"),
    ]);
    wait_for("both run", || runs_sleep(long.pid()) && runs_sleep(other.pid()));
    let tags = [ProcessTag {
        key: "team".into(),
        variable: "TEAM".into(),
    }];

    let (by_snapshot, mut writer) = table(Limits::default(), &tags);
    writer.snapshot().unwrap();
    let (by_event, mut writer) = table(Limits::default(), &tags);
    writer.handle(exec_event(
        long.pid(),
        1,
        "/usr/bin/sleep",
        &["sleep", "30"],
        None,
    ));
    let given = Some("QPOINT_STRATEGY=ignore,exact:/bin/other\0QPOINT_TAGS=k:v\0");
    writer.handle(exec_event(
        other.pid(),
        1,
        "/usr/bin/sleep",
        &["sleep", "30"],
        given,
    ));

    for table in [by_snapshot, by_event] {
        let long = table.find(long.pid()).unwrap();
        assert_eq!(long.strategy, Strategy::Ignore);
        assert_eq!(long.tags, [("team".to_owned(), "blue".to_owned())]);
        assert!(!format!("{long:?}").contains(&padding));
        let other = table.find(other.pid()).unwrap();
        assert_eq!(other.strategy, Strategy::Observe);
        assert_eq!(other.tags, [("k".to_owned(), "v".to_owned())]);
    }
}

#[test]
fn snapshot_and_events_agree_in_any_order() {
    let sleep = Guard(
        Command::new("sleep")
            .arg("30")
            .env("QPOINT_TAGS", "a:b")
            .spawn()
            .unwrap(),
    );
    let pid = sleep.pid();
    wait_for("it runs", || runs_sleep(pid));
    let event = || {
        exec_event(
            pid,
            5,
            "/usr/bin/sleep",
            &["sleep", "30"],
            Some("QPOINT_TAGS=a:b\0"),
        )
    };

    let (first, mut writer) = table(Limits::default(), &[]);
    writer.snapshot().unwrap();
    assert!(
        writer
            .snapshot()
            .unwrap()
            .iter()
            .all(|process| process.pid != pid),
        "known already"
    );
    writer.handle(event());
    let (second, mut writer) = table(Limits::default(), &[]);
    writer.handle(event());
    writer.snapshot().unwrap();

    let (first, second) = (first.find(pid).unwrap(), second.find(pid).unwrap());
    assert_eq!(first, second);
    assert_eq!(first.parent, Some(Pid(std::process::id())));
}

#[test]
fn a_fork_event_replayed_after_the_snapshot_says_that_the_process_is_new() {
    let sleep = Guard(Command::new("sleep").arg("30").spawn().unwrap());
    let pid = sleep.pid();
    wait_for("it runs", || runs_sleep(pid));
    let (table, mut writer) = table(Limits::default(), &[]);
    writer.snapshot().unwrap();
    let before = table.find(pid).unwrap();
    let parent = Pid(std::process::id());
    let event = ProcessEvent::Forked {
        pid,
        parent,
        start_ns: start_ns(pid),
        time: KernelTime(1),
    };
    writer.handle(event.clone());
    writer.handle(event);
    let after = table.find(pid).unwrap();
    assert!(before.predates_agent && !after.predates_agent);
    assert_eq!((&after.exe, &after.args), (&before.exe, &before.args));
    assert_eq!(
        table
            .running()
            .iter()
            .filter(|process| process.pid == pid)
            .count(),
        1
    );
}

#[test]
fn a_missed_process_is_read_late_and_a_killed_one_is_noticed() {
    let (table, mut writer) = table(Limits::default(), &[]);
    let sleep = Guard(Command::new("sleep").arg("30").spawn().unwrap());
    let pid = sleep.pid();
    wait_for("it runs", || runs_sleep(pid));
    assert!(table.find(pid).is_none());
    assert_eq!(writer.tick().len(), 1);
    assert_eq!(table.find_at(pid, KernelTime(1)).unwrap().args, ["sleep", "30"]);

    drop(sleep);
    writer.snapshot().unwrap();
    assert!(table.find(pid).is_some(), "its connections may still be reported");
    assert!(table.running().iter().all(|process| process.pid != pid));
    let stats = table.stats();
    assert_eq!((stats.missed, stats.late, stats.exits_missed), (1, 1, 1));
}

#[test]
fn two_thousand_execs_cost_less_than_a_second_of_cpu() {
    let cpu_ns = || -> u64 {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let sleep = Guard(Command::new("sleep").arg("30").spawn().unwrap());
    let pid = sleep.pid();
    wait_for("it runs", || runs_sleep(pid));
    let (table, mut writer) = table(Limits::default(), &[]);
    let events: Vec<_> = (0..2000)
        .map(|time| exec_event(pid, time, "/usr/bin/sleep", &["sleep", "30"], Some("")))
        .collect();
    let before = cpu_ns();
    for event in events {
        writer.handle(event);
    }
    let spent = Duration::from_nanos(cpu_ns() - before);
    println!("2000 execs of a live process: {spent:?}");
    assert_eq!(table.stats().unread, 0);
    assert!(spent < Duration::from_secs(1), "{spent:?}");
}
