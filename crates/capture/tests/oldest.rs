//! The build for Linux 5.10, on whatever kernel this is: other instructions, other ways to attach, the same events.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::io::{Read, Write};

use common::{Tap, pair, pattern};
use qtap_capture::{Direction, Options, Role, Verdict};

fn oldest() -> Tap {
    Tap::with(Options {
        oldest_build: true,
        ..Options::default()
    })
}

#[test]
fn bytes_and_counts_are_exact() {
    let mut tap = oldest();
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let (mut dialled, mut accepted) = pair(listen);
        let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
        let sent = pattern(300_000);
        let received = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut received = Vec::new();
                accepted.read_to_end(&mut received).unwrap();
                received
            });
            for piece in sent.chunks(70_000) {
                dialled.write_all(piece).unwrap();
            }
            drop(dialled);
            reader.join().unwrap()
        });
        assert!(received == sent);
        drop(accepted);
        let (client, server) = tap.ended(ours, theirs);
        assert_eq!(
            (client.opened.role, server.opened.role),
            (Role::Client, Role::Server)
        );
        assert!(client.bytes(Direction::Egress) == sent);
        assert!(server.bytes(Direction::Ingress) == sent);
        assert_eq!(
            (client.end().kernel_sent, server.end().kernel_received),
            (300_000, 300_000)
        );
    }
}

#[test]
fn existing_connections_and_verdicts_work() {
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    dialled.write_all(b"before").unwrap();
    let mut buffer = [0; 6];
    accepted.read_exact(&mut buffer).unwrap();
    let mut tap = oldest();
    tap.capture.scan_existing().unwrap();
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let opened = tap.flow(ours, theirs).unwrap().opened;
    assert!(opened.midstream && opened.role == Role::Client);
    dialled.write_all(b"seen").unwrap();
    tap.control.verdict(opened.id, Verdict::COUNT_ONLY);
    dialled.write_all(b"unseen").unwrap();
    drop(dialled);
    let mut rest = Vec::new();
    accepted.read_to_end(&mut rest).unwrap();
    drop(accepted);
    let (client, _) = tap.ended(ours, theirs);
    assert_eq!(client.bytes(Direction::Egress), b"seen");
    assert_eq!(client.end().kernel_sent, 10);
}
