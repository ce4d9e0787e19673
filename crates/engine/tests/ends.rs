//! The end of an engine.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use qtap_capture::{ConnectionId, Event, KernelTime, Role};
use qtap_engine::{Consumer, Engine, Interest};
use support::{MS, Received, Recorder, TestHost, process};

/// What an engine of one worker said of a connection whose process was not known when it was to stop.
fn stopped(host: &TestHost) -> Arc<Mutex<Received>> {
    let received = Arc::new(Mutex::new(Received::default()));
    let recorder = Recorder {
        received: Arc::clone(&received),
        wants: true,
        interest: Interest::Body(1 << 20),
    };
    let shared = support::shared(host, qtap_engine::Settings::default());
    let clock: qtap_engine::Clock = Arc::new(qtap_capture::now);
    let consumer: Box<dyn Consumer> = Box::new(recorder);
    let mut engine = Engine::start(&shared, &clock, vec![consumer]).unwrap();
    let KernelTime(now) = qtap_capture::now();
    engine.dispatch(Event::Opened(support::opened(
        ConnectionId(1),
        now - MS,
        Role::Client,
    )));
    engine.flush();
    engine.stop(Duration::from_secs(10));
    received
}

#[test]
fn a_process_that_is_known_a_moment_later_is_waited_for() {
    let host = TestHost::default();
    host.0.lock().unwrap().is_behind = true;
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            host.0.lock().unwrap().process = Some(process());
        });
        stopped(&host)
    });
    let received = received.lock().unwrap();
    let [report] = received.reports.as_slice() else {
        panic!("{} reports", received.reports.len());
    };
    assert_eq!(report.facts.process.as_ref().unwrap().exe, "/usr/bin/curl");
}

#[test]
fn one_that_stays_unknown_is_not_waited_for_long() {
    let host = TestHost::default();
    host.0.lock().unwrap().is_behind = true;
    let began = Instant::now();
    let received = stopped(&host);
    assert!(began.elapsed() < Duration::from_secs(1));
    let received = received.lock().unwrap();
    assert_eq!(received.reports.len(), 1);
    assert!(
        received
            .reports
            .iter()
            .all(|report| report.facts.process.is_none())
    );
}
