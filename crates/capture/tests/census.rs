//! The kernel side's own list of connections says how far each is, and what is left out for whom.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::{Tap, pair};
use qtap_capture::{Options, Pid, Settings, Verdict};

/// The census counts all connections of this process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn positions_go_on_where_nothing_is_copied_and_end_with_the_connection() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let mut buffer = [0; 64];
    dialled.write_all(b"question").unwrap();
    assert_eq!(accepted.read(&mut buffer).unwrap(), 8);
    tap.until("both ends", |tap| {
        tap.flow(ours, theirs).is_some() && tap.flow(theirs, ours).is_some()
    });
    let [client, server] =
        [(ours, theirs), (theirs, ours)].map(|(local, remote)| tap.flow(local, remote).unwrap());
    let (client, server) = (client.opened.id, server.opened.id);
    let at = |tap: &Tap, id| tap.control.census().unwrap().positions.get(&id).copied();
    assert_eq!((at(&tap, client), at(&tap, server)), (Some([8, 0]), Some([0, 8])));

    tap.control.verdict(client, Verdict::COUNT_ONLY);
    dialled.write_all(b" and another").unwrap();
    assert_eq!(accepted.read(&mut buffer).unwrap(), 12);
    accepted.write_all(b"yes").unwrap();
    assert_eq!(dialled.read(&mut buffer).unwrap(), 3);
    assert_eq!(
        (at(&tap, client), at(&tap, server)),
        (Some([20, 3]), Some([3, 20]))
    );

    drop((dialled, accepted));
    tap.until("the end of both", |tap| {
        at(tap, client).is_none() && at(tap, server).is_none()
    });
}

#[test]
fn what_is_left_out_is_counted_for_its_process_and_told_no_position() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let tap = Tap::with(Options {
        settings: Settings {
            ignore_loopback: true,
            ..Settings::default()
        },
        ..Options::default()
    });
    let own = Pid(std::process::id());
    let before = tap.control.census().unwrap();
    let pairs: Vec<_> = (0..3).map(|_| pair("127.0.0.1:0")).collect();
    for (dialled, accepted) in &pairs {
        let (mut dialled, mut accepted) = (dialled, accepted);
        dialled.write_all(b"unseen").unwrap();
        accepted.read_exact(&mut [0; 6]).unwrap();
    }
    let census = tap.control.census().unwrap();
    let count = |census: &qtap_capture::Census| census.filtered.get(&own).copied().unwrap_or_default();
    assert_eq!(count(&census) - count(&before), 6, "both ends of each");
    drop(pairs);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(count(&tap.control.census().unwrap()), count(&before));
}
