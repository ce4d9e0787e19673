//! The thread that writes.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use super::Lost;
use super::batch::Batch;
use super::queue::Queue;

/// Pause when standard output was made non-blocking by somebody who shares it.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(2);

/// Writes until the queue is closed.
pub(super) fn run(queue: &Queue, writer: impl Write) {
    let mut sink = Sink {
        writer,
        torn: false,
        failing: None,
    };
    while let Some(batch) = queue.take() {
        sink.write_batch(queue, batch);
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
    fn write_batch(&mut self, queue: &Queue, batch: Batch) {
        let (bytes, failure) = match self.end_torn() {
            None => self.write_counted(batch.bytes()),
            Some(error) => (0, Some(error)),
        };
        self.say(failure.as_ref());
        let (whole, whole_bytes) = batch.whole_within(bytes);
        self.torn |= bytes > whole_bytes;
        debug_assert!(
            failure.is_some() || batch.records() == whole,
            "a write without error is whole"
        );
        let reason = failure.as_ref().map_or(Lost::WriteError, Lost::of);
        queue.done(batch, whole, whole_bytes, reason);
    }

    /// Ends the record that was torn, if one was.
    fn end_torn(&mut self) -> Option<std::io::Error> {
        if !self.torn {
            return None;
        }
        let (ended, failure) = self.write_counted(b"\n");
        self.torn = ended == 0;
        failure
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
