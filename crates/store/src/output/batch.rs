//! Records that are written together.

/// Bytes gathered for one system call. A pipe holds 64 KiB by default (pipe(7)), but waking the writer's thread for each of those cost
/// a twentieth of all that a transaction costs.
pub(super) const BATCH_BYTES: usize = 256 << 10;

/// Records one after the other, in one piece of memory: who makes a record keeps its own, so that none is allocated by one thread and
/// freed by another.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
}

impl Batch {
    /// A batch of one record.
    pub(super) fn of(record: Vec<u8>) -> Self {
        Self {
            ends: vec![record.len()],
            bytes: record,
        }
    }

    /// Whether `length` bytes more fit.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.bytes.len() + length <= BATCH_BYTES
    }

    /// Adds the record that is made of `parts`.
    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many records.
    pub(super) fn records(&self) -> usize {
        self.ends.len()
    }

    /// How many records lie within the first `bytes` bytes, and their length together.
    pub(super) fn whole_within(&self, bytes: usize) -> (usize, usize) {
        let whole = self.ends.partition_point(|end| *end <= bytes);
        let length = whole.checked_sub(1).and_then(|last| self.ends.get(last));
        (whole, length.copied().unwrap_or_default())
    }

    /// The same memory without records; `None` if it is more than batches usually have.
    pub(super) fn emptied(mut self) -> Option<Self> {
        self.bytes.clear();
        self.ends.clear();
        (self.bytes.capacity() <= 2 * BATCH_BYTES).then_some(self)
    }
}
