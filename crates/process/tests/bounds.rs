//! Bounds and identity, by events of processes that do not exist (pids above the kernel's limit).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use qtap_capture::{KernelTime, Pid, ProcessEvent, ProcessExec};
use qtap_process::{Limits, Strategy, Table, Writer, table};

/// No process ever has it: `PID_MAX_LIMIT` is 4,194,304.
const BASE: u32 = 5_000_000;

fn pid(number: u32) -> Pid {
    Pid(BASE + number)
}

fn forked(number: u32, parent: u32, start_ns: u64, time: u64) -> ProcessEvent {
    ProcessEvent::Forked {
        pid: pid(number),
        parent: pid(parent),
        start_ns,
        time: KernelTime(time),
    }
}

fn exited(number: u32, start_ns: u64, time: u64) -> ProcessEvent {
    ProcessEvent::Exited {
        pid: pid(number),
        start_ns,
        status: 0,
        time: KernelTime(time),
    }
}

fn exec(number: u32, start_ns: u64, time: u64, filename: &str) -> ProcessEvent {
    ProcessEvent::Exec(Box::new(ProcessExec {
        pid: pid(number),
        parent: pid(0),
        time: KernelTime(time),
        start_ns,
        uid: 1000,
        filename: Bytes::copy_from_slice(filename.as_bytes()),
        args: Bytes::from_static(b"program\0--flag\0"),
        environment: Some(Bytes::new()),
        cgroup_id: 0,
    }))
}

fn small(records: usize, ended: usize, linger: Duration) -> (Table, Writer) {
    table(
        Limits {
            records,
            ended,
            bytes: 64 << 20,
            linger,
        },
        &[],
    )
}

const LONG: Duration = Duration::from_secs(3600);
const SECOND: u64 = 1_000_000_000;

#[test]
fn pid_reuse_is_told_apart_by_start_time() {
    let (table, mut writer) = small(100, 100, LONG);
    writer.handle(exec(1, SECOND, 10, "/bin/first"));
    writer.handle(exited(1, SECOND, 20));
    writer.handle(forked(1, 0, 5 * SECOND, 30));
    writer.handle(exec(1, 5 * SECOND, 40, "/bin/second"));
    // A late exit of the first one is not the second one's.
    writer.handle(exited(1, SECOND, 50));

    assert_eq!(table.find(pid(1)).unwrap().exe, "/bin/second");
    assert_eq!(table.find_at(pid(1), KernelTime(15)).unwrap().exe, "/bin/first");
    assert_eq!(table.find_at(pid(1), KernelTime(25)).unwrap().exe, "/bin/first");
    assert_eq!(
        table.find_at(pid(1), KernelTime(60)).unwrap().start_ns,
        5 * SECOND
    );
    assert!(table.find_at(pid(1), KernelTime(5)).is_none());
    assert_eq!(table.running().len(), 1);
}

#[test]
fn a_reused_pid_ends_the_process_whose_exit_was_lost() {
    let (table, mut writer) = small(100, 100, LONG);
    writer.handle(exec(1, SECOND, 10, "/bin/first"));
    writer.handle(exec(1, 9 * SECOND, 20, "/bin/second"));
    writer.handle(forked(1, 0, 17 * SECOND, 30));
    let stats = table.stats();
    assert_eq!((stats.running, stats.ended, stats.exits_missed), (1, 2, 2));
}

#[test]
fn a_child_inherits_what_its_parent_was_at_the_time_of_the_fork() {
    let (table, mut writer) = small(100, 100, LONG);
    writer.handle(exec(1, SECOND, 10, "/bin/shell"));
    writer.handle(exec(1, SECOND, 30, "/bin/server"));
    writer.handle(forked(2, 1, 2 * SECOND, 20));
    writer.handle(forked(3, 1, 3 * SECOND, 40));
    let child = table.find(pid(2)).unwrap();
    assert_eq!(
        (child.exe.as_str(), child.parent, child.start_ns),
        ("/bin/shell", Some(pid(1)), 2 * SECOND)
    );
    assert_eq!(table.find(pid(3)).unwrap().exe, "/bin/server");
    assert_eq!(table.find(pid(3)).unwrap().args, ["program", "--flag"]);
}

#[test]
fn a_process_without_a_known_parent_is_still_a_record() {
    let (table, mut writer) = small(100, 100, LONG);
    let orphan = writer.handle(forked(2, 1, SECOND, 10)).unwrap();
    assert_eq!((orphan.exe.as_str(), orphan.strategy), ("", Strategy::Observe));
    assert_eq!(table.stats().orphans, 1);
}

#[test]
fn a_gone_process_keeps_what_the_event_says_and_the_strategy_it_inherited() {
    let (table, mut writer) = small(100, 100, LONG);
    let ProcessEvent::Exec(mut parent) = exec(1, SECOND, 10, "/bin/sh") else {
        unreachable!()
    };
    parent.environment = Some(Bytes::from_static(
        b"QPOINT_STRATEGY=ignore,suffix:/curl\0QPOINT_TAGS=a:b\0",
    ));
    writer.handle(ProcessEvent::Exec(parent));
    writer.handle(forked(2, 1, 2 * SECOND, 20));
    let ProcessEvent::Exec(mut child) = exec(2, 2 * SECOND, 30, "/usr/bin/curl") else {
        unreachable!()
    };
    // Too long an environment, and the process is gone before /proc can tell it.
    child.environment = None;
    writer.handle(ProcessEvent::Exec(child));

    assert_eq!(table.find(pid(1)).unwrap().strategy, Strategy::Observe);
    let child = table.find(pid(2)).unwrap();
    assert_eq!(child.strategy, Strategy::Ignore);
    assert_eq!(child.tags, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(child.user.id, 1000);
    assert_eq!(table.stats().unread, 2);
}

#[test]
fn ended_processes_stay_for_a_time_and_go_oldest_first() {
    let (table, mut writer) = small(10, 2, LONG);
    for number in 1..=3 {
        writer.handle(exec(number, SECOND, 10, "/bin/a"));
        writer.handle(exited(number, SECOND, 20));
    }
    writer.handle(exec(4, SECOND, 30, "/bin/b"));
    assert!(table.find(pid(1)).is_none(), "over the bound of ended ones");
    assert!(table.find(pid(2)).is_some());
    let stats = table.stats();
    assert_eq!((stats.evicted, stats.late, stats.missed), (1, 1, 1));

    let (table, mut writer) = small(10, 10, Duration::ZERO);
    writer.handle(exec(1, SECOND, 10, "/bin/a"));
    writer.handle(exited(1, SECOND, 20));
    writer.tick();
    assert!(table.find(pid(1)).is_none());
    assert_eq!((table.stats().expired, table.stats().bytes), (1, 0));
}

#[test]
fn a_full_table_forgets_ended_processes_before_it_refuses_new_ones() {
    let (table, mut writer) = small(3, 10, LONG);
    for number in 1..=3 {
        writer.handle(exec(number, SECOND, 10, "/bin/a"));
    }
    assert!(writer.handle(exec(4, SECOND, 20, "/bin/a")).is_none());
    assert_eq!(table.stats().refused, 1);
    writer.handle(exited(2, SECOND, 30));
    assert!(writer.handle(exec(5, SECOND, 40, "/bin/a")).is_some());
    assert_eq!((table.stats().evicted, table.stats().running), (1, 3));
}

#[test]
fn a_loop_of_execs_in_one_process_takes_bounded_room() {
    let (table, mut writer) = small(1000, 1000, LONG);
    for time in 1..500 {
        writer.handle(exec(1, SECOND, time, "/bin/loop"));
    }
    let stats = table.stats();
    assert_eq!((stats.running, stats.ended), (1, 7));
    assert_eq!(stats.evicted, 499 - 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_events_come_the_bounds_hold_and_the_counters_agree(
        events in prop::collection::vec((0_u8..3, 0_u32..12, 0_u32..12, 0_u64..3, 0_u64..1000), 0..200),
    ) {
        let (table, mut writer) = small(16, 6, LONG);
        for (kind, number, parent, start, time) in events {
            let start_ns = start * SECOND;
            writer.handle(match kind {
                0 => forked(number, parent, start_ns, time),
                1 => exec(number, start_ns, time, "/bin/x"),
                _ => exited(number, start_ns, time),
            });
            let stats = table.stats();
            prop_assert!(stats.running + stats.ended <= 16);
            prop_assert_eq!(table.running().len() as u64, stats.running);
            prop_assert_eq!(stats.bytes == 0, stats.running + stats.ended == 0);
        }
    }
}
