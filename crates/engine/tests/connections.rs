//! Connections from kernel events to transactions and verdicts, on one worker.

mod support;

use qtap_capture::{Direction, Event, Layer, Loss, Role, Verdict};
use qtap_engine::{CheckName, CheckState, Exclusion, HealthStatus, Interest, ReasonCode};
use qtap_protocol::Outcome;
use support::{Bench, client_hello};

const REQUEST: &[u8] = b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_plain_exchange_is_one_transaction_and_a_healthy_connection() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    let transactions = bench.transactions();
    assert_eq!(transactions.len(), 1);
    assert_eq!(transactions[0].outcome, Outcome::Complete);
    assert_eq!(&transactions[0].response_half.body.data[..], b"hello");
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Healthy, "{:?}", report.health);
    assert_eq!(report.facts.domain.as_deref(), Some("example.com"));
    assert_eq!(
        (report.bytes_sent, report.bytes_received),
        (REQUEST.len() as u64, RESPONSE.len() as u64)
    );
    assert_eq!(report.transactions, 1);
    assert_eq!(bench.worker.connections(), 0);
}

#[test]
fn a_server_reads_requests_and_writes_responses() {
    let mut bench = Bench::new();
    bench.open(Role::Server, false);
    bench.reads(REQUEST);
    bench.writes(RESPONSE);
    bench.close();
    assert_eq!(bench.transactions().len(), 1);
    assert_eq!(bench.final_report().facts.direction.name(), "ingress");
}

#[test]
fn bytes_that_come_before_the_open_event_are_kept() {
    let mut bench = Bench::new();
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.open(Role::Client, false);
    bench.close();
    assert_eq!(bench.transactions().len(), 1);
    assert_eq!(bench.final_report().health.status, HealthStatus::Healthy);
}

#[test]
fn a_close_that_overtakes_the_last_bytes_waits_for_them() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    let last = bench.record(Direction::Ingress, Layer::Socket, RESPONSE, None);
    bench.close();
    assert!(
        bench
            .received
            .lock()
            .unwrap()
            .reports
            .iter()
            .all(|report| !report.finalized)
    );
    bench.send(Event::Data(last));
    assert_eq!(bench.transactions()[0].outcome, Outcome::Complete);
    assert_eq!(bench.final_report().health.status, HealthStatus::Healthy);
}

#[test]
fn nothing_is_handed_out_before_the_process_is_known() {
    let mut bench = Bench::new();
    let process = bench.host.0.lock().unwrap().process.take();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.wait_ms(50);
    assert!(bench.transactions().is_empty());
    bench.host.0.lock().unwrap().process = process;
    bench.wait_ms(20);
    assert_eq!(bench.transactions().len(), 1);
}

#[test]
fn a_process_that_never_becomes_known_delays_its_connection_only_so_long() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().process = None;
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.wait_ms(600);
    bench.close();
    assert_eq!(bench.transactions().len(), 1);
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert_eq!(bench.codes(), [ReasonCode::ProcessUnknown]);
}

#[test]
fn a_response_is_not_paired_with_the_request_before_a_lost_one() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    // The response to it and the next request find no room, the response to that one does.
    bench.loses(Direction::Ingress, RESPONSE.len() as u64);
    bench.loses(Direction::Egress, REQUEST.len() as u64);
    bench.reads(RESPONSE);
    // The client waits for its answers, so that counting is sure again after two rounds.
    for _ in 0..3 {
        bench.writes(REQUEST);
        bench.reads(RESPONSE);
    }
    bench.close();
    let transactions = bench.transactions();
    let answered: Vec<bool> = transactions
        .iter()
        .map(|transaction| transaction.response.is_some())
        .collect();
    assert_eq!(answered, [false, false, true, true], "{transactions:#?}");
    assert_eq!(transactions[0].outcome, Outcome::Incomplete);
    let report = bench.final_report();
    assert_eq!(report.health.gap_bytes, (REQUEST.len() + RESPONSE.len()) as u64);
    assert!(bench.codes().contains(&ReasonCode::RingFull));
}

#[test]
fn an_excluded_process_leaves_no_trace_and_the_kernel_is_told() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().exclusion = Exclusion {
        whole: true,
        ..Exclusion::default()
    };
    bench.writes(REQUEST);
    bench.open(Role::Client, false);
    bench.reads(RESPONSE);
    bench.wait_ms(1000);
    bench.close();
    assert!(bench.received.lock().unwrap().reports.is_empty() && bench.transactions().is_empty());
    assert_eq!(bench.host.0.lock().unwrap().ignored, [support::PID]);
    assert_eq!(bench.worker.connections(), 0);
}

#[test]
fn payload_left_out_by_a_filter_is_an_ignored_connection() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().exclusion = Exclusion {
        http: true,
        ..Exclusion::default()
    };
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    assert!(bench.transactions().is_empty());
    assert_eq!(bench.final_report().health.status, HealthStatus::Ignored);
}

#[test]
fn lost_body_bytes_make_the_transaction_incomplete_and_say_why() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
    bench.loses(Direction::Ingress, 80);
    bench.reads(b"abcdefghij");
    bench.wait_ms(300);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    let transactions = bench.transactions();
    assert_eq!(transactions.len(), 2);
    assert_eq!(transactions[0].response_half.body.gap_bytes, 80);
    assert_eq!(
        &transactions[0].response_half.body.data[..],
        b"0123456789abcdefghij"
    );
    assert_eq!(transactions[1].gap_bytes(), 0);
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert_eq!(report.health.gap_bytes, 80);
    assert!(
        bench.codes().contains(&ReasonCode::RingFull)
            && bench.codes().contains(&ReasonCode::TransactionIncomplete)
    );
}

#[test]
fn bytes_sent_from_a_file_are_a_gap_of_known_length() {
    let mut bench = Bench::new();
    bench.open(Role::Server, false);
    bench.reads(REQUEST);
    bench.writes(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    let file = bench.record(
        Direction::Egress,
        Layer::Socket,
        b"",
        Some((5000, Loss::Unreadable)),
    );
    bench.send(Event::Data(file));
    bench.close();
    assert_eq!(bench.transactions()[0].response_half.body.total, 5000);
    assert!(bench.codes().contains(&ReasonCode::UnreadableBytes));
}

#[test]
fn records_lost_at_the_very_end_are_counted_at_close() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    bench.loses(Direction::Ingress, 100);
    bench.close();
    bench.wait_ms(400);
    assert_eq!(bench.final_report().health.gap_bytes, 100);
    assert_eq!(bench.transactions()[0].gap_bytes(), 100);
}

#[test]
fn a_connection_joined_in_the_middle_says_so_and_finds_the_next_request() {
    let mut bench = Bench::new();
    bench.open(Role::Client, true);
    bench.reads(b"tail of some body");
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    assert_eq!(bench.transactions().len(), 1);
    let report = bench.final_report();
    assert!(report.facts.joined_midstream);
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert!(bench.codes().contains(&ReasonCode::JoinedMidstream));
}

#[test]
fn an_unknown_protocol_is_blind_and_is_copied_no_longer() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    // TLS may begin in the middle of it, but not for ever.
    for _ in 0..140 {
        bench.writes(&[0x80, 1, 2, 3, 0xff, 0, 0, 9].repeat(16));
        bench.reads(&[0x90, 0xfe, 7, 7].repeat(32));
    }
    bench.close();
    assert_eq!(bench.final_report().health.status, HealthStatus::Blind);
    assert_eq!(bench.codes(), [ReasonCode::ProtocolUnknown]);
    let verdicts = bench.host.0.lock().unwrap().verdicts.clone();
    assert_eq!(
        verdicts.last().map(|&(_, verdict)| verdict),
        Some(Verdict::COUNT_ONLY)
    );
}

#[test]
fn without_a_stack_nothing_is_parsed_and_the_report_says_so() {
    let mut bench = Bench::with(false, Interest::None);
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    assert!(bench.transactions().is_empty());
    assert_eq!(bench.codes(), [ReasonCode::NoStack]);
}

#[test]
fn a_connect_tunnel_is_detected_anew() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(b"CONNECT inner.example:80 HTTP/1.1\r\nHost: inner.example:80\r\n\r\n");
    bench.reads(b"HTTP/1.1 200 Connection established\r\n\r\n");
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    let outcomes: Vec<_> = bench
        .transactions()
        .iter()
        .map(|transaction| transaction.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Upgraded, Outcome::Complete]);
}

#[test]
fn tls_without_a_known_library_is_blind_with_its_reason() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().tls = Some(qtap_engine::ProcessTls::default());
    bench.open(Role::Client, false);
    let mut record = vec![0x17, 3, 3, 0, 100];
    record.extend_from_slice(&[7; 100]);
    let mut hello = vec![0x16, 3, 1, 0, 50];
    hello.extend_from_slice(&[1; 50]);
    bench.writes(&hello);
    bench.reads(&hello);
    bench.writes(&record);
    bench.reads(&record);
    bench.wait_ms(2500);
    bench.close();
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Blind, "{:?}", report.health);
    assert!(bench.codes().contains(&ReasonCode::TlsLibraryUnsupported));
    let probe = report
        .health
        .checks
        .iter()
        .find(|check| check.name == CheckName::TlsProbe)
        .unwrap();
    assert_eq!(probe.state, CheckState::Missing);
    assert_eq!(
        bench.host.0.lock().unwrap().calls,
        0,
        "every need of calls is taken back"
    );
}

#[test]
fn a_handshake_that_ends_in_the_clear_is_captured_whole() {
    const HANDSHAKE_FAILURE: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
    for answer in [b"".as_slice(), HANDSHAKE_FAILURE] {
        let mut bench = Bench::new();
        bench.host.0.lock().unwrap().tls = Some(qtap_engine::ProcessTls {
            implementations: vec!["openssl"],
            ..Default::default()
        });
        bench.open(Role::Client, false);
        bench.writes(&client_hello());
        if !answer.is_empty() {
            bench.reads(answer);
        }
        bench.close();
        let health = bench.final_report().health;
        assert_eq!(health.status, HealthStatus::Healthy, "{answer:?} {health:?}");
        assert_eq!(bench.codes(), [ReasonCode::TlsHandshakeUnfinished]);
    }
}

#[test]
fn a_handshake_that_lacks_bytes_is_not_called_unfinished() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().tls = Some(qtap_engine::ProcessTls {
        implementations: vec!["openssl"],
        ..Default::default()
    });
    bench.open(Role::Client, false);
    bench.writes(&client_hello());
    bench.loses(Direction::Ingress, 1000);
    bench.close();
    bench.wait_ms(2500);
    let health = bench.final_report().health;
    assert_eq!(health.status, HealthStatus::Blind, "{health:?}");
    assert!(
        !bench.codes().contains(&ReasonCode::TlsHandshakeUnfinished),
        "{health:?}"
    );
}

#[test]
fn a_long_connection_reports_early_and_at_intervals() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.wait_ms(11_000);
    bench.reads(RESPONSE);
    bench.close();
    let parts: Vec<_> = bench
        .received
        .lock()
        .unwrap()
        .reports
        .iter()
        .map(|report| (report.part, report.finalized))
        .collect();
    assert_eq!(parts, [(0, false), (1, false), (2, true)]);
}

#[test]
fn body_bytes_that_nobody_wants_are_skipped_in_the_kernel() {
    let mut bench = Bench::with(true, Interest::Head);
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n0123456789");
    let verdict = bench
        .host
        .0
        .lock()
        .unwrap()
        .verdicts
        .last()
        .map(|&(_, verdict)| verdict)
        .unwrap();
    let head = 45;
    assert!(
        verdict.skip_until[1] > 900_000 && verdict.skip_until[1] <= 1_000_000 + head,
        "{verdict:?}"
    );
    assert_eq!(verdict.skip_until[0], 0);
}

/// P-L4.
#[test]
fn what_is_held_beyond_the_memory_budget_is_given_up_and_said() {
    let mut bench = Bench::within(100_000, true, Interest::Head);
    let process = bench.host.0.lock().unwrap().process.take();
    bench.host.0.lock().unwrap().is_behind = true;
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
    for _ in 0..30 {
        bench.reads(&[b'x'; 10_000]);
    }
    assert!(bench.worker.held() > 300_000);
    bench.wait_ms(300);
    assert_eq!(bench.worker.held(), 0);
    assert!(bench.stats.lost_memory.get() > 300_000);
    bench.host.0.lock().unwrap().process = process;
    bench.wait_ms(10);
    bench.close();
    bench.wait_ms(500);
    assert!(
        bench.codes().contains(&ReasonCode::MemoryBudget),
        "{:?}",
        bench.codes()
    );
    assert_ne!(bench.final_report().health.status, HealthStatus::Healthy);
}

#[test]
fn what_is_skipped_is_measured_from_where_the_parser_is() {
    let mut bench = Bench::with(true, Interest::Head);
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let first = bench.record(Direction::Ingress, Layer::Socket, head, None);
    let second = bench.record(Direction::Ingress, Layer::Socket, &[b'x'; 100_000], None);
    // The second record overtakes the first: both are in order at once.
    bench.send(Event::Data(second));
    bench.send(Event::Data(first));
    let verdict = bench
        .host
        .0
        .lock()
        .unwrap()
        .verdicts
        .last()
        .map(|last| last.1)
        .unwrap();
    let end = (head.len() + 1_000_000) as u64;
    assert!((900_000..end).contains(&verdict.skip_until[1]), "{verdict:?}");
}

#[test]
fn an_old_tls_connection_is_read_from_its_calls() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().tls = Some(qtap_engine::ProcessTls::default());
    bench.open(Role::Client, true);
    assert_eq!(
        bench.host.0.lock().unwrap().calls,
        1,
        "calls are asked for as soon as the connection is found"
    );
    let record = |length: usize| [&[0x17, 3, 3, 0, length as u8][..], &vec![0xa5; length]].concat();
    for _ in 0..3 {
        bench.writes(&record(100));
        let call = bench.record(Direction::Egress, Layer::Calls, REQUEST, None);
        bench.send(Event::Data(call));
        bench.reads(&record(90)[..5]);
        bench.reads(&record(90)[5..]);
        let call = bench.record(Direction::Ingress, Layer::Calls, RESPONSE, None);
        bench.send(Event::Data(call));
    }
    bench.close();
    let outcomes: Vec<_> = bench
        .transactions()
        .iter()
        .map(|transaction| transaction.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Complete; 3]);
    let report = bench.final_report();
    assert_eq!(
        report.facts.tls.as_ref().and_then(|tls| tls.source),
        Some(qtap_engine::TlsSource::Calls)
    );
    assert_eq!(bench.codes(), [ReasonCode::JoinedMidstream]);
    assert_eq!(bench.host.0.lock().unwrap().calls, 0);
}

#[test]
fn calls_that_nobody_wants_are_no_loss() {
    let mut bench = Bench::with(false, Interest::None);
    bench.host.0.lock().unwrap().tls = Some(qtap_engine::ProcessTls::default());
    bench.open(Role::Client, true);
    bench.writes(&[&[0x17, 3, 3, 0, 100][..], &[0xa5; 100]].concat());
    let call = bench.record(Direction::Egress, Layer::Calls, REQUEST, None);
    bench.send(Event::Data(call));
    let told = bench.host.0.lock().unwrap().verdicts.last().cloned();
    assert_eq!(told, Some((bench.id, Verdict::COUNT_ONLY)));
    let _left_out = bench.record(Direction::Ingress, Layer::Calls, RESPONSE, None);
    bench.close();
    assert!(
        !bench.codes().contains(&ReasonCode::RingFull),
        "{:?}",
        bench.codes()
    );
}

#[test]
fn body_bytes_skipped_at_the_end_are_no_loss() {
    let mut bench = Bench::with(true, Interest::Head);
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n0123456789");
    let skip_until = bench
        .host
        .0
        .lock()
        .unwrap()
        .verdicts
        .last()
        .map(|&(_, verdict)| verdict.skip_until[1])
        .unwrap();
    let end = 1_000_000 + 44;
    bench.loses(
        Direction::Ingress,
        skip_until - bench.end(Layer::Socket, Direction::Ingress),
    );
    bench.reads(&vec![b'x'; usize::try_from(end - skip_until).unwrap()]);
    bench.close();
    let report = bench.final_report();
    assert_eq!(
        (report.health.status, report.health.gap_bytes),
        (HealthStatus::Healthy, 0),
        "{:?}",
        report.health
    );
    assert_eq!(bench.transactions().len(), 1);
}

#[test]
fn a_connection_that_ends_before_its_process_is_known_is_told_all_the_same() {
    let mut bench = Bench::new();
    let process = bench.host.0.lock().unwrap().process.take();
    bench.host.0.lock().unwrap().is_behind = true;
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    bench.wait_ms(1000);
    assert!(bench.received.lock().unwrap().reports.is_empty());
    bench.host.0.lock().unwrap().process = process;
    bench.wait_ms(20);
    assert_eq!(bench.transactions().len(), 1);
    assert_eq!(bench.final_report().health.status, HealthStatus::Healthy);
}
