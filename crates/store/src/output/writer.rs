//! The thread that writes.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use super::Lost;
use super::queue::Queue;

/// Bytes gathered for one system call. A pipe holds 64 KiB by default (pipe(7)), but waking this thread for each of those cost a
/// twentieth of all that a transaction costs.
const BATCH_BYTES: usize = 256 << 10;

/// Pause when standard output was made non-blocking by somebody who shares it.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(2);

/// Writes until the queue is closed.
pub(super) fn run(queue: &Queue, writer: impl Write) {
    let mut sink = Sink {
        writer,
        torn: false,
        failing: None,
    };
    let mut batch = Vec::new();
    let mut buffer = Vec::new();
    while queue.take(&mut batch, BATCH_BYTES) {
        sink.write_batch(queue, &mut batch, &mut buffer);
    }
}

struct Sink<W> {
    writer: W,
    /// The last thing written is the beginning of a record: the next needs a line end before it.
    torn: bool,
    /// What the last write failed with, said once on the log.
    failing: Option<Lost>,
}

impl<W: Write> Sink<W> {
    /// Writes the records of `batch` with as few calls as possible and settles each: written whole, or lost.
    fn write_batch(&mut self, queue: &Queue, batch: &mut Vec<Vec<u8>>, buffer: &mut Vec<u8>) {
        let prefix: &[u8] = if self.torn { b"\n" } else { b"" };
        let written = match batch.as_slice() {
            // A large record alone is not copied once more.
            [only] if prefix.is_empty() => self.write_counted(only),
            _ => {
                buffer.clear();
                buffer.extend_from_slice(prefix);
                batch.iter().for_each(|record| buffer.extend_from_slice(record));
                self.write_counted(buffer)
            }
        };
        let (bytes, failure) = written;
        self.say(failure.as_ref());
        if bytes > 0 {
            self.torn = false;
        }
        self.settle(
            queue,
            batch,
            bytes.saturating_sub(prefix.len()),
            failure.as_ref().map(Lost::of),
        );
        if buffer.capacity() > 4 * BATCH_BYTES {
            *buffer = Vec::new();
        }
    }

    /// Counts the records that lie within the first `bytes` bytes as written, the rest as lost.
    fn settle(&mut self, queue: &Queue, batch: &mut Vec<Vec<u8>>, bytes: usize, failure: Option<Lost>) {
        let mut whole = 0;
        let mut whole_bytes = 0;
        for record in batch.iter() {
            if whole_bytes + record.len() > bytes {
                break;
            }
            whole += 1;
            whole_bytes += record.len();
        }
        self.torn |= bytes > whole_bytes;
        let all_bytes: usize = batch.iter().map(Vec::len).sum();
        let (all, lost) = (batch.len() as u64, batch.len() as u64 - whole);
        batch.clear();
        debug_assert!(
            failure.is_some() || all == whole,
            "a write without error is whole"
        );
        queue.done(whole, whole_bytes as u64, None);
        if lost > 0 {
            queue.done(
                lost,
                (all_bytes - whole_bytes) as u64,
                Some(failure.unwrap_or(Lost::WriteError)),
            );
        }
    }

    /// `write_all` that says how far it came.
    fn write_counted(&mut self, bytes: &[u8]) -> (usize, Option<std::io::Error>) {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match self.writer.write(rest) {
                Ok(0) => return (done, Some(ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(WOULD_BLOCK_PAUSE),
                Err(error) => return (done, Some(error)),
            }
        }
        match self.writer.flush() {
            Ok(()) => (done, None),
            Err(error) => (done, Some(error)),
        }
    }

    /// Logs a change between working and failing, and between failures.
    fn say(&mut self, failure: Option<&std::io::Error>) {
        let reason = failure.map(Lost::of);
        if reason == self.failing {
            return;
        }
        self.failing = reason;
        match failure {
            Some(error) => tracing::warn!(%error, "standard output cannot be written, records are lost"),
            None => tracing::info!("standard output can be written again"),
        }
    }
}
