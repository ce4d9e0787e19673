//! The one writer of standard output.

mod batch;
mod counters;
mod queue;
mod writer;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qtap_plugin::LineSink;

pub use counters::{Lost, OutputCounters};
use queue::Queue;

/// Bounds of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Records that may wait. Default 65,536.
    pub records: usize,
    /// Bytes that may wait, together. One record larger than this is taken when nothing else waits. Default 32 MiB.
    pub bytes: usize,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self {
            records: 65_536,
            bytes: 32 << 20,
        }
    }
}

impl OutputLimits {
    /// Room for several artifacts with two bodies of `body_limit` bytes in base64.
    #[must_use]
    pub fn for_bodies(body_limit: u64) -> Self {
        let default = Self::default();
        let bodies = usize::try_from(body_limit.saturating_mul(8)).unwrap_or(usize::MAX);
        Self {
            bytes: default.bytes.max(bodies),
            ..default
        }
    }
}

/// Writes records, in the order taken and never mixed, from a bounded queue. Cheap to clone; all clones share the
/// queue. When the queue is full the new record is dropped and counted: a slow reader costs records, never time.
#[derive(Clone)]
pub struct Output {
    queue: Arc<Queue>,
}

impl Output {
    /// Standard output. It is written to through a descriptor of its own, without the buffer of [`io::stdout`].
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated or the thread not started.
    pub fn stdout(limits: OutputLimits) -> io::Result<Self> {
        let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
        Self::new(std::fs::File::from(descriptor), limits)
    }

    /// Any writer. It may block; only the thread of this output waits for it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(writer: impl Write + Send + 'static, limits: OutputLimits) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(limits));
        let shared = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("qtap-output".to_owned())
            .spawn(move || writer::run(&shared, writer))?;
        Ok(Self { queue })
    }

    /// Takes a record: whole lines with their line ends. Returns whether it was taken.
    pub fn write(&self, record: Vec<u8>) -> bool {
        self.queue.push_owned(record)
    }

    /// Takes a record that is made of `parts`, without another copy or allocation.
    pub fn write_parts(&self, parts: &[&[u8]]) -> bool {
        self.queue.push(parts)
    }

    /// Waits until all that was taken is written, at most for `patience`; what still waits then is dropped and counted
    /// as [`Lost::Shutdown`], and later records too. Returns whether everything was written.
    pub fn flush(&self, patience: Duration) -> bool {
        self.queue.drain(Instant::now() + patience)
    }

    /// Counts a record that never came to be.
    pub(crate) fn lose(&self, reason: Lost) {
        self.queue.lose(reason);
    }

    /// Counters. `received` is the sum of `emitted`, all of `lost`, and `waiting_records`.
    #[must_use]
    pub fn counters(&self) -> OutputCounters {
        self.queue.counters()
    }
}

impl LineSink for Output {
    fn write_record(&self, record: Vec<u8>) {
        self.write(record);
    }
}

#[cfg(test)]
mod tests;
