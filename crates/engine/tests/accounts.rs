//! What the account of a process says of its connections: how they are read, and how much of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../tls/tests/common/mod.rs"]
mod handshakes;
mod support;

use handshakes::{Pair, Recording, talk};
use qtap_capture::{ConnectionId, Direction, Event, KernelTime, Layer, Loss, Role, TlsSecret};
use qtap_engine::{Account, Exclusion, Positions, ProcessKey, ReasonCode};
use qtap_protocol::Side;
use rustls::crypto::ring::cipher_suite;
use support::{Bench, PID};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn account_with(bench: &mut Bench, positions: &Positions) -> Account {
    let survey = bench.worker.survey(positions, KernelTime(bench.now));
    assert_eq!((survey.left_out, survey.silent_workers), (0, 0));
    let mut accounts = survey.accounts.into_iter();
    let (key, account) = accounts.next().expect("an account");
    assert_eq!(key, ProcessKey::of(&support::process()));
    assert!(accounts.next().is_none(), "one process");
    account
}

fn account(bench: &mut Bench) -> Account {
    account_with(bench, &Positions::new())
}

fn recording() -> Recording {
    Pair::new(cipher_suite::TLS13_AES_128_GCM_SHA256).run(&talk())
}

fn on_the_wire(recording: &Recording) -> u64 {
    recording.wire.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

fn play(bench: &mut Bench, recording: &Recording, with_secrets: bool) {
    bench.open(Role::Client, false);
    let offered = recording.secrets.iter().filter(|_| with_secrets);
    for secret in offered {
        bench.send(Event::Secret(TlsSecret {
            time: KernelTime(bench.now),
            pid: PID,
            tid: PID.0,
            label: secret.label.name(),
            secret: secret.bytes.clone(),
            client_random: None,
            origin: None,
            connection: None,
        }));
    }
    for (side, bytes) in &recording.wire {
        match side {
            Side::Client => bench.writes(bytes),
            Side::Server => bench.reads(bytes),
        }
    }
}

#[test]
fn a_plaintext_connection_counts_while_it_is_open_and_after_its_end() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    let open = account(&mut bench);
    bench.close();
    let ended = account(&mut bench);
    assert_eq!((open.open, open.ended, ended.open, ended.ended), (1, 0, 0, 1));
    for account in [open, ended] {
        let bytes = [REQUEST.len() as u64, RESPONSE.len() as u64];
        assert_eq!((account.plain, account.tls), (1, 0));
        assert_eq!((account.wire_bytes, account.plaintext_bytes), (bytes, bytes));
        assert_eq!(account.coverage_permille(), Some(1000));
        assert!(account.problems.is_empty());
        assert_eq!(account.process.unwrap().exe, "/usr/bin/curl");
    }
}

#[test]
fn tls_that_is_decrypted_is_covered_to_the_last_byte() {
    let recording = recording();
    let mut bench = Bench::new();
    play(&mut bench, &recording, true);
    let open = account(&mut bench);
    bench.close();
    let ended = account(&mut bench);
    for account in [open, ended] {
        assert_eq!((account.secrets, account.tls), (1, 1));
        assert_eq!(account.wire_bytes.iter().sum::<u64>(), on_the_wire(&recording));
        assert_eq!(account.tls_wire_bytes, on_the_wire(&recording));
        let plain = recording.plain.each_ref().map(|plain| plain.len() as u64);
        assert_eq!(account.plaintext_bytes, plain);
        assert_eq!(
            (account.unread_bytes, account.coverage_permille()),
            (0, Some(1000))
        );
    }
}

#[test]
fn tls_without_its_secret_is_unread_and_says_why() {
    let recording = recording();
    let mut bench = Bench::new();
    play(&mut bench, &recording, false);
    bench.close();
    bench.wait_ms(4000);
    let account = account(&mut bench);
    assert_eq!((account.unread_connections, account.used()), (1, 1));
    assert_eq!(account.plaintext_bytes, [0, 0]);
    assert!(
        account.coverage_permille().unwrap() < 500,
        "the handshake's clear part at most"
    );
    assert!(account.unread_bytes > 0);
    let problem = &account.problems[&ReasonCode::TlsLibraryUnsupported];
    assert_eq!(problem.connections, 1);
    assert!(problem.detail.contains("/usr/bin/curl"), "{}", problem.detail);
}

#[test]
fn bytes_that_no_record_told_are_unread() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    bench.reads(head);
    let lost = bench.record(
        Direction::Ingress,
        Layer::Socket,
        b"",
        Some((600, Loss::RingFull)),
    );
    bench.send(Event::Data(lost));
    bench.reads(&[b'x'; 400]);
    let mut closed = bench.closed();
    closed.kernel_received += 50;
    bench.send(Event::Closed(closed));
    let account = account(&mut bench);
    assert_eq!(account.unread_bytes, 650);
    assert_eq!(account.problems[&ReasonCode::RingFull].connections, 1);
    assert_eq!(account.problems[&ReasonCode::BytesUnaccounted].connections, 1);
}

#[test]
fn calls_cover_what_passes_from_the_first_of_them_on() {
    for earlier in [false, true] {
        let mut bench = Bench::new();
        bench.open(Role::Client, true);
        if earlier {
            // A response whose calls were not probed yet.
            let mut record = vec![0x17, 3, 3, 0x10, 0];
            record.resize(4096 + 5, 1);
            bench.reads(&record);
        }
        let mut record = vec![0x17, 3, 3, 0, REQUEST.len() as u8 + 17];
        record.resize(record.len() + REQUEST.len() + 17, 1);
        bench.writes(&record);
        let call = bench.record(Direction::Egress, Layer::Calls, REQUEST, None);
        bench.send(Event::Data(call));
        let account = account(&mut bench);
        assert_eq!(
            (account.calls, account.plaintext_bytes[0]),
            (1, REQUEST.len() as u64)
        );
        assert_eq!(account.coverage_permille() == Some(1000), !earlier, "{account:?}");
        if earlier {
            assert!((4000..4200).contains(&account.unread_bytes), "{account:?}");
        }
    }
}

#[test]
fn a_connection_that_nobody_used_is_counted_and_has_no_problem() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.close();
    let account = account(&mut bench);
    assert_eq!((account.ended, account.unused, account.used()), (1, 1, 0));
    assert!(account.problems.is_empty() && account.coverage_permille().is_none());
}

#[test]
fn what_the_configuration_leaves_out_is_only_counted() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().exclusion = Exclusion {
        whole: true,
        ..Exclusion::default()
    };
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    let account = account(&mut bench);
    assert_eq!((account.open, account.excluded, account.used()), (1, 1, 0));
    assert_eq!((account.wire_bytes, account.plaintext_bytes), ([0, 0], [0, 0]));
}

/// Of what the kernel side does not copy only its own count tells how much it is: it is not wanted, not unread.
#[test]
fn bytes_that_nobody_wants_are_no_gap() {
    let mut bench = Bench::with(false, qtap_engine::Interest::None);
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    let seen = [bench.end(Layer::Socket, Direction::Egress), 5_000_000];
    let account = account_with(&mut bench, &Positions::from([(ConnectionId(1), seen)]));
    assert_eq!(account.wire_bytes, seen);
    assert_eq!(account.unwanted_bytes, 5_000_000 - RESPONSE.len() as u64);
    assert_eq!(
        (account.unread_bytes, account.coverage_permille()),
        (0, Some(1000))
    );
}

#[test]
fn a_number_used_by_another_process_is_another_account() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.close();
    let other = qtap_process::Process {
        start_ns: 20_000_000,
        ..(*support::process()).clone()
    };
    bench.host.0.lock().unwrap().process = Some(std::sync::Arc::new(other));
    bench.id = ConnectionId(2);
    bench.open(Role::Client, false);
    let survey = bench.worker.survey(&Positions::new(), KernelTime(bench.now));
    let mut found: Vec<_> = (survey.accounts.iter())
        .map(|(key, account)| (key.start_ns, account.open, account.ended))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(0, 0, 1), (20_000_000, 1, 0)]);
}
