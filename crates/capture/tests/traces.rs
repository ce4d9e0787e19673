//! `--bpf-trace`: decisions are told while someone asks, of whom they ask.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::io::{Read, Write};
use std::time::Duration;

use common::{Tap, pair};
use qtap_capture::{Direction, Event, Options, Pid, Trace, TraceModule, Verdict};

fn traces(tap: &Tap, tid: u32) -> Vec<Trace> {
    let traces = tap.events.iter().filter_map(|event| match event {
        Event::Trace(trace) if trace.tid == tid => Some(trace.clone()),
        _ => None,
    });
    traces.collect()
}

#[test]
fn socket_decisions_are_traced_for_the_processes_asked_for() {
    let mut tap = Tap::with(Options {
        trace_ring: 1 << 18,
        ..Options::default()
    });
    // SAFETY: has no requirements.
    let own = u32::try_from(unsafe { libc::gettid() }).unwrap();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    tap.control.trace(&[TraceModule::Socket], false);
    dialled.write_all(b"not asked for").unwrap();
    tap.control.trace_process(Pid(std::process::id()), true).unwrap();
    dialled.write_all(b"asked").unwrap();
    std::fs::write("/dev/null", b"file").unwrap();
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let id = tap.flow(ours, theirs).unwrap().opened.id;
    tap.control.verdict(id, Verdict::COUNT_ONLY);
    dialled.write_all(b"counted").unwrap();
    tap.control.trace(&[], false);
    let mut buffer = [0; 25];
    accepted.read_exact(&mut buffer).unwrap();
    tap.during(Duration::from_millis(50));

    let told: Vec<_> = traces(&tap, own)
        .iter()
        .filter(|trace| trace.direction == Direction::Egress)
        .map(|trace| (trace.message, trace.bytes, trace.connection.is_some()))
        .collect();
    let file: &[_] = if tap.capture.sees_transfers() {
        &[]
    } else {
        &[
            ("syscall/write", 4, false),
            ("process_data (conn_info = NULL)", 4, false),
        ]
    };
    let mut expected = vec![("syscall/sendto", 5, false), ("process_data", 5, true)];
    expected.extend(file);
    expected.extend([
        ("syscall/sendto", 7, false),
        ("process_data (settings = IGNORE, ignore = true)", 7, true),
    ]);
    assert_eq!(told, expected);
}
