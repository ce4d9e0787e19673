//! Processes and mappings are told as they happen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::Tap;
use qtap_capture::{Event, Pid, ProcessEvent, ProcessExec};

fn of(tap: &Tap, wanted: Pid) -> Vec<ProcessEvent> {
    let events = tap.events.iter().filter_map(|event| match event {
        Event::Process(event) => Some(event),
        _ => None,
    });
    events
        .filter(|event| match event {
            ProcessEvent::Forked { pid, .. } | ProcessEvent::Exited { pid, .. } => *pid == wanted,
            ProcessEvent::Exec(exec) => exec.pid == wanted,
        })
        .cloned()
        .collect()
}

/// Runs a command to its end and returns what was told of it.
fn run(tap: &mut Tap, command: &mut Command) -> Vec<ProcessEvent> {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let pid = Pid(child.id());
    child.wait().unwrap();
    tap.until("the exit", |tap| {
        matches!(of(tap, pid).last(), Some(ProcessEvent::Exited { .. }))
    });
    of(tap, pid)
}

fn execs(events: &[ProcessEvent]) -> Vec<&ProcessExec> {
    events
        .iter()
        .filter_map(|event| match event {
            ProcessEvent::Exec(exec) => Some(exec.as_ref()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_command_is_forked_executed_and_gone() {
    let mut tap = Tap::start();
    let mut command = Command::new("/bin/echo");
    command
        .args(["one two", "", "three"])
        .env("QPOINT_TAGS", "a:b")
        .env("OTHER", "QPOINT_");
    let events = run(&mut tap, &mut command);

    let own = Pid(std::process::id());
    let [
        ProcessEvent::Forked { parent, start_ns, .. },
        ProcessEvent::Exec(exec),
        ProcessEvent::Exited { .. },
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!((*parent, exec.parent), (own, own));
    assert_eq!(exec.start_ns, *start_ns);
    assert_eq!(exec.filename.as_ref(), b"/bin/echo");
    assert_eq!(exec.args.as_ref(), b"/bin/echo\0one two\0\0three\0");
    assert_eq!(exec.environment.as_deref(), Some(&b"QPOINT_TAGS=a:b\0"[..]));
    // SAFETY: has no requirements.
    assert_eq!(exec.uid, unsafe { libc::geteuid() });
}

#[test]
fn exit_codes_and_signals_are_those_of_wait() {
    let mut tap = Tap::start();
    for (script, expected) in [("exit 3", 3 << 8), ("kill -KILL $$", 9), ("true", 0)] {
        let events = run(&mut tap, Command::new("sh").args(["-c", script]));
        let Some(ProcessEvent::Exited { status, .. }) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!(*status, expected, "{script}");
    }
}

#[test]
fn an_exec_chain_is_told_step_by_step_and_failures_are_not() {
    let mut tap = Tap::start();
    let mut command = Command::new("sh");
    command.args(["-c", "(exec /nonexistent/program) 2>/dev/null; exec env true"]);
    let events = run(&mut tap, &mut command);
    let names: Vec<_> = execs(&events)
        .iter()
        .map(|exec| exec.args.split(|byte| *byte == 0).next().unwrap())
        .collect();
    assert_eq!(names, [&b"sh"[..], b"env", b"true"]);
    let identity: Vec<_> = execs(&events).iter().map(|exec| exec.start_ns).collect();
    assert!(identity.iter().all(|start| *start == identity[0]));
}

#[test]
fn long_arguments_are_cut_and_a_long_environment_is_left_to_proc() {
    let mut tap = Tap::start();
    let long = "x".repeat(10_000);
    let mut command = Command::new("true");
    command
        .arg(&long)
        .env("LONG", "y".repeat(20_000))
        .env("QPOINT_STRATEGY", "ignore");
    let events = run(&mut tap, &mut command);
    let exec = execs(&events)[0];
    assert_eq!(exec.args.len(), 4096);
    assert!(exec.args.starts_with(b"true\0xxx"));
    assert_eq!(exec.environment, None);
}

#[test]
fn threads_are_not_processes() {
    let mut tap = Tap::start();
    std::thread::spawn(|| {}).join().unwrap();
    tap.during(Duration::from_millis(50));
    assert_eq!(of(&tap, Pid(std::process::id())), []);
}

#[test]
fn executable_mappings_are_told_unless_the_file_is_known() {
    let mut tap = Tap::start();
    let path = std::env::temp_dir().join(format!("qtap-capture-mapped-{}", std::process::id()));
    std::fs::write(&path, [0x90; 4096]).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (device, inode) = (file.metadata().unwrap().dev(), file.metadata().unwrap().ino());
    let map = || {
        use std::os::fd::AsRawFd;
        // SAFETY: a fresh mapping, removed at once.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_EXEC;
            let at = libc::mmap(
                std::ptr::null_mut(),
                4096,
                protection,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            libc::munmap(at, 4096);
            at as u64
        }
    };
    let told = |tap: &Tap| -> Vec<u64> {
        let mapped = tap.events.iter().filter_map(|event| match event {
            Event::Mapped(mapped) if mapped.inode == inode && mapped.device == device => Some(mapped),
            _ => None,
        });
        mapped.map(|mapped| mapped.address).collect()
    };
    let unknown = [map(), map()];
    tap.during(Duration::from_millis(50));
    tap.control.mark_known(device, inode).unwrap();
    map();
    tap.during(Duration::from_millis(50));
    tap.control.forget_known(device, inode).unwrap();
    let forgotten = map();
    tap.during(Duration::from_millis(50));
    assert_eq!(told(&tap), [unknown[0], unknown[1], forgotten]);
}

#[test]
fn what_a_process_maps_is_told_before_its_end() {
    let mut tap = Tap::start();
    let mut pids = Vec::new();
    for _ in 0..40 {
        let mut child = Command::new("true").spawn().unwrap();
        pids.push(Pid(child.id()));
        child.wait().unwrap();
        tap.during(Duration::from_millis(1));
    }
    let place = |tap: &Tap, wanted: &dyn Fn(&Event) -> bool| tap.events.iter().rposition(wanted);
    let end = |pid| move |event: &Event| matches!(event, Event::Process(ProcessEvent::Exited { pid: of, .. }) if *of == pid);
    tap.until("the end of all", |tap| {
        pids.iter().all(|pid| place(tap, &end(*pid)).is_some())
    });
    tap.during(Duration::from_millis(50));
    for pid in pids {
        let exec = place(
            &tap,
            &|event| matches!(event, Event::Process(ProcessEvent::Exec(exec)) if exec.pid == pid),
        )
        .unwrap();
        let mapped = place(
            &tap,
            &|event| matches!(event, Event::Mapped(mapping) if mapping.pid == pid),
        )
        .unwrap();
        let end = place(&tap, &end(pid)).unwrap();
        assert!(exec < mapped && mapped < end, "{exec} {mapped} {end}");
    }
}
