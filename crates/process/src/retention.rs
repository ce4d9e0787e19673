//! How long and how many images are kept.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use qtap_capture::Pid;

use crate::Process;

/// Bounds of a [`crate::Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most images, running or ended.
    pub records: usize,
    /// Most of them that have ended.
    pub ended: usize,
    /// Bytes of all records, estimated.
    pub bytes: u64,
    /// How long an image that has ended stays findable.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            records: 65_536,
            ended: 16_384,
            bytes: 64 << 20,
            linger: Duration::from_secs(30),
        }
    }
}

/// Most images kept under one pid: a chain of execs shares the room of one process.
pub(crate) const MAX_IMAGES_PER_PID: usize = 8;

/// An image that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) pid: Pid,
    pub(crate) serial: u64,
    at: Instant,
}

/// Ended images in the order of their end.
#[derive(Debug)]
pub(crate) struct Retention {
    limits: Limits,
    queue: VecDeque<Ended>,
}

impl Retention {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
        }
    }

    pub(crate) fn ended(&mut self, pid: Pid, serial: u64, at: Instant) {
        self.queue.push_back(Ended { pid, serial, at });
    }

    /// The next image whose time is over.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Ended> {
        let oldest = self.queue.front()?;
        let over = now.saturating_duration_since(oldest.at) >= self.limits.linger;
        if over { self.queue.pop_front() } else { None }
    }

    /// The next image to forget for lack of room, if there is a lack.
    pub(crate) fn pop_surplus(&mut self, records: u64, bytes: u64) -> Option<Ended> {
        let surplus = self.queue.len() > self.limits.ended || !self.fits(records, bytes);
        if surplus { self.queue.pop_front() } else { None }
    }

    pub(crate) const fn fits(&self, records: u64, bytes: u64) -> bool {
        records <= self.limits.records as u64 && bytes <= self.limits.bytes
    }
}

/// Bytes that a record takes, allocator overhead of its strings included by estimate.
pub(crate) fn footprint(process: &Process) -> u64 {
    const STRING: usize = size_of::<String>() + 16;
    let text = |text: &String| text.len() + STRING;
    let args: usize = process.args.iter().map(text).sum();
    let tags: usize = process
        .tags
        .iter()
        .map(|(key, value)| text(key) + text(value))
        .sum();
    let names = process.exe.len() + process.cgroup.len() + process.hostname.as_ref().map_or(0, String::len);
    // Once for the record and once for the environment that goes on to children.
    let total = size_of::<Process>() + args + 2 * tags + names + 256;
    total as u64
}
