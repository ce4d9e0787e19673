//! Connections whose end was lost on the way.

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use qtap_capture::{Event, KernelTime, Living, Role};
use qtap_engine::{CheckName, CheckState, HealthStatus, ReasonCode};
use qtap_protocol::Outcome;
use support::Bench;

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n";

fn living(bench: &mut Bench, ids: HashSet<qtap_capture::ConnectionId>, time: u64) {
    let living = Living {
        time: KernelTime(time),
        ids,
    };
    bench.send(Event::Living(Arc::new(living)));
}

#[test]
fn a_connection_that_is_no_more_is_reported_with_what_is_known() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.wait_ms(10);
    let time = bench.now;
    living(&mut bench, HashSet::new(), time);
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert_eq!(bench.codes()[0], ReasonCode::EndUnknown);
    let socket = report
        .health
        .checks
        .iter()
        .find(|check| check.name == CheckName::Socket);
    assert_eq!(socket.map(|check| check.state), Some(CheckState::Partial));
    assert_eq!(report.health.socket_bytes_sent, None, "only the lost event knew");
    assert_eq!(bench.transactions()[0].outcome, Outcome::Incomplete);
    assert_eq!((bench.worker.connections(), bench.stats.lost_ends.get()), (0, 1));
}

#[test]
fn what_lives_or_is_newer_than_the_look_stays() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    let (id, time) = (bench.id, bench.now);
    living(&mut bench, HashSet::from([id]), time + 1);
    living(&mut bench, HashSet::new(), 0);
    assert_eq!(bench.worker.connections(), 1);
    bench.close();
    assert!(!bench.codes().contains(&ReasonCode::EndUnknown));
}

#[test]
fn bytes_that_come_after_the_end_leave_nothing_behind() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.close();
    bench.writes(REQUEST);
    assert_eq!(
        bench.worker.connections(),
        1,
        "taken for one whose open event is on its way"
    );
    let time = bench.now + 1;
    living(&mut bench, HashSet::new(), time);
    assert_eq!(bench.worker.connections(), 0);
}

#[test]
fn one_whose_process_is_not_known_yet_waits_for_it_and_is_reported() {
    let mut bench = Bench::new();
    let process = bench.host.0.lock().unwrap().process.take();
    bench.host.0.lock().unwrap().is_behind = true;
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    let time = bench.now + 1;
    living(&mut bench, HashSet::new(), time);
    assert_eq!(bench.worker.connections(), 1);
    bench.host.0.lock().unwrap().process = process;
    bench.wait_ms(20);
    assert_eq!(bench.codes()[0], ReasonCode::EndUnknown);
    assert_eq!((bench.worker.connections(), bench.stats.lost_ends.get()), (0, 1));
}
