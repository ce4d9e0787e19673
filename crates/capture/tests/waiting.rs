//! What the reader costs while it waits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::{Tap, pair};
use qtap_capture::Event;

/// Processor time of this thread.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the call.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Payload that comes just after the reader went to sleep gathers for some milliseconds. It once looked at it all that time.
#[test]
fn payload_that_gathers_is_not_looked_at_without_a_pause() {
    const ROUNDS: u32 = 20;
    let mut tap = Tap::start();
    let (mut dialled, accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    dialled.write_all(b"first").unwrap();
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let id = tap.flow(ours, theirs).unwrap().opened.id;
    let writer = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            // Ten naps of 5 ms, and a little of the sleep behind them.
            std::thread::sleep(Duration::from_millis(57));
            dialled.write_all(b"x").unwrap();
        }
    });
    let (began, before) = (Instant::now(), processor_time());
    let mut seen = 0;
    while seen < ROUNDS {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "saw {seen} of {ROUNDS}"
        );
        tap.reader
            .poll(Duration::from_millis(100), &mut |event| {
                if let Event::Data(data) = event
                    && data.id == id
                {
                    seen += 1;
                }
            })
            .unwrap();
    }
    let share = (processor_time() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    writer.join().unwrap();
    assert!(share < 0.04, "the reader took {share:.2} of a processor");
}
