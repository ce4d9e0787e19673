//! Secrets reach the connection whose records they open, whenever its process becomes known.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../tls/tests/common/mod.rs"]
mod handshakes;
mod support;

use std::num::NonZeroU64;

use handshakes::{Pair, Recording, Step};
use qtap_capture::{ConnectionId, Direction, Event, KernelTime, Role, TlsSecret};
use qtap_engine::{HealthStatus, Interest};
use qtap_protocol::Side;
use rustls::crypto::ring::cipher_suite;
use support::{Bench, MS, PID, process};

/// A download of `length` bytes in pieces of 16 KiB.
fn download(length: usize) -> Recording {
    let mut script = vec![Step::Send(
        Side::Client,
        b"GET /large HTTP/1.1\r\nhost: example.test\r\n\r\n".to_vec(),
    )];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    script.push(Step::Send(Side::Server, head.into_bytes()));
    let body = vec![b'x'; length];
    script.extend(
        body.chunks(16 << 10)
            .map(|piece| Step::Send(Side::Server, piece.to_vec())),
    );
    script.extend([Step::Close(Side::Client), Step::Close(Side::Server)]);
    Pair::new(cipher_suite::TLS13_AES_128_GCM_SHA256).run(&script)
}

/// The function that tells the secrets.
const ORIGIN: u64 = 0x40_1000;

/// Its secrets as the kernel side tells them, right before the first bytes of the server.
fn play(bench: &mut Bench, recording: &Recording) {
    let hint = Some(bench.id);
    play_hinted(bench, recording, hint);
}

fn play_hinted(bench: &mut Bench, recording: &Recording, hint: Option<ConnectionId>) {
    bench.open(Role::Client, false);
    let mut untold = Some(&recording.secrets);
    for (side, bytes) in &recording.wire {
        if *side == Side::Server
            && let Some(secrets) = untold.take()
        {
            for secret in secrets {
                bench.send(Event::Secret(TlsSecret {
                    time: KernelTime(bench.now),
                    pid: PID,
                    tid: PID.0,
                    label: secret.label.name(),
                    secret: secret.bytes.clone(),
                    client_random: None,
                    origin: NonZeroU64::new(ORIGIN),
                    connection: hint,
                }));
            }
        }
        let direction = if *side == Side::Client {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let data = bench.record(direction, qtap_capture::Layer::Socket, bytes, None);
        bench.send(Event::Data(data));
    }
}

/// P-L2: a session holds 1 MiB of ciphertext for its secret; what waits for the process must not run into that.
#[test]
fn a_download_larger_than_what_may_wait_for_a_secret_is_read_whole_when_its_process_becomes_known_late() {
    let length = 3_000_000;
    let recording = download(length);
    let mut bench = Bench::with(true, Interest::Body(4 << 20));
    {
        let mut host = bench.host.0.lock().unwrap();
        host.process = None;
        host.is_behind = true;
    }
    play(&mut bench, &recording);
    bench.close();
    assert!(bench.transactions().is_empty());
    bench.host.0.lock().unwrap().process = Some(process());
    bench.host.0.lock().unwrap().tls = Some(qtap_engine::ProcessTls::default());
    bench.now += MS;
    bench.wait_ms(10);
    let transactions = bench.transactions();
    assert_eq!(transactions.len(), 1);
    assert_eq!(transactions[0].response_half.body.total, length as u64);
    let report = bench.final_report();
    assert_eq!(
        report.health.status,
        HealthStatus::Healthy,
        "{:?}",
        report.health.reasons
    );
}

/// The same, with other secrets than its own.
fn wrong(mut recording: Recording) -> Recording {
    for secret in &mut recording.secrets {
        secret.bytes.fill(7);
    }
    recording
}

fn ready() -> Bench {
    let bench = Bench::with(true, Interest::Body(4 << 20));
    let mut host = bench.host.0.lock().unwrap();
    host.process = Some(process());
    host.tls = Some(qtap_engine::ProcessTls::default());
    drop(host);
    bench
}

/// "The first record must authenticate": the one who probes is told of both outcomes.
#[test]
fn a_function_is_judged_by_the_first_record() {
    let mut bench = ready();
    play(&mut bench, &download(1000));
    bench.wait_ms(3000);
    let proved = bench.host.0.lock().unwrap().proved.clone();
    assert!(!proved.is_empty() && proved.iter().all(|origin| *origin == ORIGIN));
    assert_eq!(bench.host.0.lock().unwrap().failed, []);

    // Whether it lasts or ends before the wait for its secrets.
    for milliseconds in [3000, 0] {
        let mut bench = ready();
        play(&mut bench, &wrong(download(1000)));
        bench.wait_ms(milliseconds);
        bench.close();
        bench.wait_ms(3000);
        let host = bench.host.0.lock().unwrap();
        assert_eq!(
            (host.failed.as_slice(), host.proved.len()),
            (&[(ORIGIN, false)][..], 0)
        );
    }
}

#[test]
fn a_secret_that_was_meant_for_another_connection_says_nothing_of_its_function() {
    for hint in [None, Some(ConnectionId(77))] {
        let mut bench = ready();
        play_hinted(&mut bench, &wrong(download(1000)), hint);
        bench.wait_ms(3000);
        bench.close();
        bench.wait_ms(3000);
        assert_eq!(bench.host.0.lock().unwrap().failed, []);
    }
}
