//! The reader on a host whose processors are all busy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod common;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Tap, pair};
use qtap_capture::Event;

/// Keeps every processor busy with four threads while `work` runs.
fn amid_others<T>(work: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when `work` panics.
        let _over = Over(&is_over);
        for _ in 0..4 * std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        work()
    })
}

/// It lets others go first, for a moment. It once gave up the processor for every 64 records: for longer than the ring of connections that
/// open takes to fill.
#[test]
fn others_go_first_once_and_not_for_every_piece_of_what_gathered() {
    const ROUNDS: usize = 3_000;
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let id = tap.flow(ours, theirs).unwrap().opened.id;
    let mut buffer = [0; 64];
    for _ in 0..ROUNDS {
        dialled.write_all(&[b'x'; 64]).unwrap();
        accepted.read_exact(&mut buffer).unwrap();
    }
    let took = amid_others(|| {
        let began = Instant::now();
        let mut seen = 0;
        while seen < ROUNDS {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "saw {seen} of {ROUNDS}"
            );
            tap.reader
                .poll(Duration::ZERO, &mut |event| {
                    if let Event::Data(data) = event
                        && data.id == id
                    {
                        seen += 1;
                    }
                })
                .unwrap();
        }
        began.elapsed()
    });
    assert!(took < Duration::from_millis(300), "it took {took:?}");
}
