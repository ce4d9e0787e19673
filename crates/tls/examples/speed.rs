//! Measures one core: how fast application data of one connection comes out.
//!
//! `cargo run --release -p qtap-tls --example speed`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Pair, SUITES, Step, noise};
use qtap_tls::{Event, Limits, Session, Side, Time};

fn main() {
    for suite in SUITES {
        let recording = Pair::new(suite).run(&[Step::Send(Side::Server, noise(32 << 20, 1))]);
        let wire: Vec<(Side, Bytes)> = recording
            .wire
            .into_iter()
            .map(|(side, bytes)| (side, bytes.into()))
            .collect();
        for read in [usize::MAX, 16 << 10, 4 << 10] {
            let mut best = Duration::MAX;
            for _ in 0..5 {
                let mut session = Session::new(Limits::default(), false);
                let mut events = Vec::new();
                for secret in &recording.secrets {
                    session.offer(secret, &mut events);
                }
                let mut plaintext = 0;
                let start = Instant::now();
                for (side, bytes) in &wire {
                    let mut rest = bytes.clone();
                    while !rest.is_empty() {
                        let piece = rest.split_to(read.min(rest.len()));
                        session.bytes(*side, piece, Time(0), &mut events);
                        for event in events.drain(..) {
                            if let Event::Plaintext { data, .. } = event {
                                plaintext += data.len();
                            }
                        }
                    }
                }
                best = best.min(start.elapsed());
                assert_eq!(plaintext, 32 << 20);
            }
            let rate = f64::from(32 << 20) / best.as_secs_f64() / 1e6;
            let read = if read == usize::MAX {
                "whole records".to_owned()
            } else {
                format!("{read}-byte reads")
            };
            println!("{:?}, {read}: {rate:.0} MB/s", suite.suite());
        }
    }
}
