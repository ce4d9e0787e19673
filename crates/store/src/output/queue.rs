//! Records that wait for the writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch::{BATCH_BYTES, Batch};
use super::{Lost, OutputCounters, OutputLimits};

/// How long the writer lets records gather after it wrote some. Waking it for each would cost a system call and a switch of tasks
/// per record, several times what making the record costs.
const NAP: Duration = Duration::from_millis(2);

/// A record of this many bytes is a batch of its own rather than copied.
const LARGE: usize = 64 << 10;

/// Empty batches that are kept for the next records.
const SPARE: usize = 2;

/// A bounded queue with one consumer. The lock is held for a few dozen nanoseconds on either side, never while writing.
pub(super) struct Queue {
    limits: OutputLimits,
    state: Mutex<State>,
    /// Something waits, or there will be no more.
    filled: Condvar,
    /// Nothing waits.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    spare: Vec<Batch>,
    counters: OutputCounters,
    closed: bool,
    /// Somebody waits until all is written.
    draining: bool,
    /// Nothing gathers before the first record.
    has_written: bool,
    writer: Writer,
}

/// What the writer does when it is not writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// It writes, and looks for more by itself.
    #[default]
    Awake,
    /// It wakes by itself soon; to be woken only when there is a whole batch.
    Napping,
    /// To be woken for the next record.
    Asleep,
}

impl State {
    /// The batch that takes a record of `length` bytes.
    fn batch(&mut self, length: usize) -> Option<&mut Batch> {
        if !self.batches.back().is_some_and(|last| last.has_room(length)) {
            let batch = self.spare.pop().unwrap_or_default();
            self.batches.push_back(batch);
        }
        self.batches.back_mut()
    }

    /// Whether the writer is to be woken. Tells so once per sleep.
    fn wakes_writer(&mut self) -> bool {
        let wakes = match self.writer {
            Writer::Awake => false,
            Writer::Napping => self.counters.waiting_bytes >= BATCH_BYTES as u64,
            Writer::Asleep => true,
        };
        if wakes {
            self.writer = Writer::Awake;
        }
        wakes
    }
}

impl Queue {
    pub(super) fn new(limits: OutputLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    /// Takes a copy of the record that is made of `parts`, or counts it as lost.
    pub(super) fn push(&self, parts: &[&[u8]]) -> bool {
        let length = parts.iter().map(|part| part.len()).sum();
        self.add(length, |state| {
            if let Some(batch) = state.batch(length) {
                batch.push(parts);
            }
        })
    }

    /// The same without a copy, where `record` is large.
    pub(super) fn push_owned(&self, record: Vec<u8>) -> bool {
        if record.len() < LARGE {
            return self.push(&[&record]);
        }
        self.add(record.len(), |state| state.batches.push_back(Batch::of(record)))
    }

    fn add(&self, length: usize, keep: impl FnOnce(&mut State)) -> bool {
        let mut state = self.lock();
        state.counters.received += 1;
        if state.closed {
            state.counters.lose(Lost::Shutdown, 1);
            return false;
        }
        if !self.has_room(&state.counters, length) {
            state.counters.lose(Lost::QueueFull, 1);
            return false;
        }
        state.counters.waiting_records += 1;
        state.counters.waiting_bytes += length as u64;
        keep(&mut state);
        let wakes = state.wakes_writer();
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        true
    }

    /// Counts a record that never came to be.
    pub(super) fn lose(&self, reason: Lost) {
        let mut state = self.lock();
        state.counters.received += 1;
        state.counters.lose(reason, 1);
    }

    fn has_room(&self, counters: &OutputCounters, length: usize) -> bool {
        let fits = counters.waiting_bytes + length as u64 <= self.limits.bytes as u64;
        counters.waiting_records < self.limits.records as u64 && (fits || counters.waiting_records == 0)
    }

    /// Waits for records and takes the oldest out, at least one and until they have [`BATCH_BYTES`] bytes. `None` when there will be no
    /// more. The first record after a silence comes at once, what follows it within [`NAP`].
    pub(super) fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        if state.counters.waiting_bytes < BATCH_BYTES as u64
            && !state.closed
            && !state.draining
            && state.has_written
        {
            state.writer = Writer::Napping;
            let napped = self.filled.wait_timeout_while(state, NAP, |state| {
                state.writer != Writer::Awake && !state.closed && !state.draining
            });
            state = napped.unwrap_or_else(PoisonError::into_inner).0;
        }
        while state.batches.is_empty() && !state.closed {
            state.writer = Writer::Asleep;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = Writer::Awake;
        let batch = state.batches.pop_front();
        state.has_written = batch.is_some();
        batch
    }

    /// The first `whole` records of `batch` have been written, `whole_bytes` bytes together; the others are lost for `reason`.
    pub(super) fn done(&self, batch: Batch, whole: usize, whole_bytes: usize, reason: Lost) {
        let (records, bytes) = (batch.records() as u64, batch.bytes().len() as u64);
        let batch = batch.emptied();
        let mut state = self.lock();
        let counters = &mut state.counters;
        counters.waiting_records = counters.waiting_records.saturating_sub(records);
        counters.waiting_bytes = counters.waiting_bytes.saturating_sub(bytes);
        counters.emitted += whole as u64;
        counters.emitted_bytes += whole_bytes as u64;
        counters.lose(reason, records - whole as u64);
        if counters.waiting_records == 0 {
            self.drained.notify_all();
        }
        if state.spare.len() < SPARE {
            state.spare.extend(batch);
        }
    }

    /// Takes no more, and waits until nothing waits. What waits at `deadline` is dropped, but for what is being written.
    pub(super) fn drain(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        state.draining = true;
        self.filled.notify_all();
        while state.counters.waiting_records > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self
                .drained
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken.0;
        }
        let written = state.counters.waiting_records == 0;
        let left = std::mem::take(&mut state.batches);
        let bytes: usize = left.iter().map(|batch| batch.bytes().len()).sum();
        let records: usize = left.iter().map(Batch::records).sum();
        state.counters.waiting_records -= records as u64;
        state.counters.waiting_bytes -= bytes as u64;
        state.counters.lose(Lost::Shutdown, records as u64);
        state.closed = true;
        drop(state);
        self.filled.notify_all();
        written
    }

    pub(super) fn counters(&self) -> OutputCounters {
        self.lock().counters
    }

    /// Every change under the lock leaves the state whole, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
