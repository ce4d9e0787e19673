//! Errors of our own: they cost one connection, or one worker, and are told.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use qtap_capture::{ConnectionId, Event, KernelTime, Living, Role};
use qtap_engine::{Consumer, Engine, Interest};
use support::{Bench, MS, Received, Recorder};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// A connection whose first step with bytes panicked.
fn failed() -> Bench {
    let mut bench = Bench::new();
    bench.received.lock().unwrap().panics = true;
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.received.lock().unwrap().panics = false;
    assert_eq!(bench.stats.panics.get(), 1);
    bench
}

#[test]
fn a_connection_that_panics_counts_what_comes_and_ends_in_silence() {
    let mut bench = failed();
    bench.writes(REQUEST);
    bench.reads(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(bench.stats.lost_failed.get(), REQUEST.len() as u64 + 38);
    bench.wait_ms(20_000);
    assert_eq!((bench.worker.connections(), bench.worker.held()), (1, 0));
    bench.close();
    assert_eq!((bench.worker.connections(), bench.reports()), (0, 0));
    assert!(bench.transactions().is_empty());
    assert_eq!((bench.stats.open.get(), bench.stats.panics.get()), (0, 1));
}

#[test]
fn its_end_may_be_lost_too() {
    let mut bench = failed();
    let time = KernelTime(bench.now);
    let ids = std::collections::HashSet::new();
    bench.send(Event::Living(Arc::new(Living { time, ids })));
    assert_eq!((bench.worker.connections(), bench.stats.lost_ends.get()), (0, 1));
}

#[test]
fn other_connections_of_its_worker_go_on() {
    let mut bench = failed();
    bench.turn_to(2);
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(bench.transactions().len(), 1);
}

/// Of two workers in one thread; the clock panics for the one that looks at it first.
#[test]
fn a_worker_that_panics_leaves_the_others_alone() {
    let received = Arc::new(Mutex::new(Received::default()));
    let recorder = Recorder {
        received: Arc::clone(&received),
        wants: true,
        interest: Interest::Body(1 << 20),
    };
    let shared = support::shared(&support::known_process(), qtap_engine::Settings::default());
    let stats = Arc::clone(&shared.stats);
    let armed = Arc::new(AtomicBool::new(true));
    let clock: qtap_engine::Clock = Arc::new(move || {
        assert!(!armed.swap(false, Ordering::SeqCst), "as the test asked for");
        KernelTime(2 * MS)
    });
    let consumers = (0..2).map(|_| Box::new(recorder.clone()) as Box<dyn Consumer>);
    let mut engine = Engine::start(&shared, &clock, consumers.collect()).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while stats.workers_lost.get() == 0 {
        assert!(Instant::now() < until, "no worker panicked");
        std::thread::sleep(Duration::from_millis(1));
    }
    let ids = 1..=16;
    let total = ids.clone().count();
    for id in ids {
        engine.dispatch(Event::Opened(support::opened(
            ConnectionId(id),
            2 * MS,
            Role::Client,
        )));
    }
    engine.flush();
    engine.stop(Duration::from_secs(10));
    let reports = received.lock().unwrap().reports.len();
    assert!((1..total).contains(&reports), "{reports} of {total} connections");
    assert_eq!(stats.workers_lost.get(), 1);
}
