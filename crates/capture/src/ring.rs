//! A BPF ring buffer, read in place.
//!
//! Our own reader instead of libbpf's: two rings have to be read in step (see [`crate::Reader`]), which needs to know how far
//! the kernel has come, and to stop there.

use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapHandle};

use crate::Error;
use crate::shared::{SharedMemory, page_size};
use crate::window::Window;

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: usize = 8;
const MAP: &str = "map a ring buffer";

/// How far a ring is written and read. Maps none of its data.
#[derive(Debug)]
pub(crate) struct Positions {
    consumer: SharedMemory,
    producer: SharedMemory,
}

impl Positions {
    /// Those of the ring `map`, for whoever does not consume it.
    pub(crate) fn of(map: &MapHandle) -> Result<Self, Error> {
        let page = page_size();
        Ok(Self {
            consumer: share(map, 0, page, false)?,
            producer: share(map, page, page, false)?,
        })
    }

    /// Bytes that were not read yet.
    pub(crate) fn unread(&self) -> u64 {
        let read = self.read();
        self.produced().saturating_sub(read)
    }

    fn read(&self) -> u64 {
        atomic(self.consumer.at(0)).map_or(0, |at| at.load(Ordering::Acquire))
    }

    fn produced(&self) -> u64 {
        atomic(self.producer.at(0)).map_or(0, |at| at.load(Ordering::Acquire))
    }
}

fn share(file: &impl AsFd, offset: usize, length: usize, writable: bool) -> Result<SharedMemory, Error> {
    SharedMemory::map(file, offset, length, writable).map_err(|source| Error::System { attempt: MAP, source })
}

/// The consumer of one ring.
#[derive(Debug)]
pub(crate) struct Ring<F = MapHandle> {
    positions: Positions,
    data: Window<F>,
    mask: u64,
    read: u64,
}

impl Ring {
    /// Reads the ring `map`.
    pub(crate) fn new(map: MapHandle) -> Result<Self, Error> {
        let size = map.max_entries() as usize;
        Self::open(map, size)
    }
}

impl<F: AsFd> Ring<F> {
    /// Reads the ring of `size` bytes in `file`: a page with the position of the consumer, one with that of the producer, and the data,
    /// twice in a row.
    fn open(file: F, size: usize) -> Result<Self, Error> {
        let page = page_size();
        let positions = Positions {
            consumer: share(&file, 0, page, true)?,
            producer: share(&file, page, page, false)?,
        };
        Ok(Self {
            read: positions.read(),
            positions,
            data: Window::new(file, 2 * page, size),
            mask: size as u64 - 1,
        })
    }

    /// The map, for waiting.
    pub(crate) fn map(&self) -> &F {
        self.data.file()
    }

    /// Bytes it has room for.
    pub(crate) fn size(&self) -> u64 {
        self.mask + 1
    }

    /// How far the kernel has reserved.
    pub(crate) fn produced(&self) -> u64 {
        self.positions.produced()
    }

    /// How far we have read.
    pub(crate) fn consumed(&self) -> u64 {
        self.read
    }

    /// Hands out the records before `until`, at most `limit` bytes of them, and frees their room one by one. Stops early at a record
    /// that is reserved but not yet committed.
    ///
    /// # Errors
    /// When the next part of the ring cannot be mapped. What was not handed out is handed out by the next call.
    pub(crate) fn consume(
        &mut self,
        until: u64,
        limit: u64,
        mut handler: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        let stop = until.min(self.read.saturating_add(limit));
        let refused = |source| Error::System { attempt: MAP, source };
        while self.read < stop {
            let offset = (self.read & self.mask) as usize;
            let (memory, place) = self.data.reach(offset, HEADER).map_err(refused)?;
            let Some(header) = memory.at::<AtomicU32>(place) else {
                break;
            };
            // SAFETY: points into the mapping, which lives as long as the borrow of the window; the kernel writes it atomically.
            let length = unsafe { header.as_ref() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let size = (length & !DISCARD) as usize;
            if length & DISCARD == 0 {
                let (memory, place) = self.data.reach(offset, HEADER + size).map_err(refused)?;
                // SAFETY: a committed record is not written until we pass it by.
                let Some(record) = (unsafe { memory.bytes(place + HEADER, size) }) else {
                    break;
                };
                handler(record);
            }
            self.read += (size + HEADER).next_multiple_of(8) as u64;
            if let Some(position) = atomic(self.positions.consumer.at(0)) {
                position.store(self.read, Ordering::Release);
            }
        }
        Ok(())
    }
}

fn atomic<'a>(at: Option<NonNull<AtomicU64>>) -> Option<&'a AtomicU64> {
    // SAFETY: `at` comes from a mapping that lives as long as the ring, whose methods do not let the reference out.
    at.map(|at| unsafe { at.as_ref() })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;

    use super::*;

    /// A file that looks like a ring, and the kernel's part in it.
    struct Kernel {
        file: File,
        size: u64,
        produced: u64,
    }

    impl Kernel {
        fn new(size: usize) -> Self {
            let file = tempfile::tempfile().unwrap();
            let size = size as u64;
            file.set_len(2 * page_size() as u64 + 2 * size).unwrap();
            Self {
                file,
                size,
                produced: 0,
            }
        }

        fn ring(&self) -> Ring<File> {
            Ring::open(self.file.try_clone().unwrap(), self.size as usize).unwrap()
        }

        /// Writes into the data as the kernel sees them: both copies are the same memory.
        fn write(&self, position: u64, bytes: &[u8]) {
            let data = 2 * page_size() as u64;
            let offset = position % self.size;
            let (first, wrapped) = bytes.split_at(bytes.len().min((self.size - offset) as usize));
            for copy in [data, data + self.size] {
                self.file.write_all_at(first, copy + offset).unwrap();
                self.file.write_all_at(wrapped, copy).unwrap();
            }
        }

        /// Reserves room for a record and fills it; returns its position.
        fn reserve(&mut self, payload: &[u8], flags: u32) -> u64 {
            let position = self.produced;
            self.produced += (payload.len() + HEADER).next_multiple_of(8) as u64;
            self.write(position + HEADER as u64, payload);
            self.set_header(position, payload.len() as u32 | flags);
            self.file
                .write_all_at(&self.produced.to_ne_bytes(), page_size() as u64)
                .unwrap();
            position
        }

        fn set_header(&self, position: u64, length: u32) {
            self.write(position, &length.to_ne_bytes());
        }

        fn consumed(&self) -> u64 {
            let mut position = [0; 8];
            self.file.read_exact_at(&mut position, 0).unwrap();
            u64::from_ne_bytes(position)
        }
    }

    fn all(ring: &mut Ring<File>) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        ring.consume(ring.produced(), u64::MAX, |record| records.push(record.to_vec()))
            .unwrap();
        records
    }

    #[test]
    fn a_record_that_is_not_committed_holds_up_those_behind_it() {
        let mut kernel = Kernel::new(4096);
        let mut ring = kernel.ring();
        kernel.reserve(b"first", 0);
        let open = kernel.reserve(b"second", BUSY);
        kernel.reserve(b"third", 0);
        assert_eq!(all(&mut ring), [b"first"]);
        assert_eq!(kernel.consumed(), open);
        kernel.set_header(open, 6);
        assert_eq!(all(&mut ring), [b"second".to_vec(), b"third".to_vec()]);
        assert_eq!(kernel.consumed(), kernel.produced);
    }

    #[test]
    fn a_part_is_read_up_to_the_limit() {
        let mut kernel = Kernel::new(4096);
        let mut ring = kernel.ring();
        let second = kernel.reserve(&[1; 100], 0) + 112;
        kernel.reserve(&[2; 100], 0);
        ring.consume(second, u64::MAX, |record| assert_eq!(record, [1; 100]))
            .unwrap();
        assert_eq!(ring.consumed(), second);
    }

    #[test]
    fn a_reader_goes_on_where_the_former_one_ended() {
        let mut kernel = Kernel::new(4096);
        kernel.reserve(b"read", 0);
        all(&mut kernel.ring());
        kernel.reserve(b"not read", 0);
        assert_eq!(all(&mut kernel.ring()), [b"not read"]);
    }

    /// Most bytes of a record here: more than is mapped at a time, and so much that two fit.
    const RECORD: usize = 100 << 10;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_record_comes_out_whole_however_it_lies_in_the_ring(
            records in proptest::collection::vec(
                (prop_oneof![4 => 0..300_usize, 2 => 0..20_000_usize, 1 => 0..RECORD], any::<u8>(), 0..8_u8),
                1..80,
            ),
            whole in any::<bool>(),
        ) {
            let size = if whole { 256 << 10 } else { 1 << 20 };
            let mut kernel = Kernel::new(size);
            let mut ring = kernel.ring();
            let mut expected = Vec::new();
            for (length, seed, kind) in records {
                let payload: Vec<u8> = (0..length).map(|at| seed.wrapping_add((at / 8) as u8)).collect();
                if kernel.produced + (length + 2 * HEADER) as u64 > ring.consumed() + kernel.size {
                    prop_assert_eq!(all(&mut ring), std::mem::take(&mut expected));
                }
                if kind == 0 {
                    kernel.reserve(&payload, DISCARD);
                } else {
                    kernel.reserve(&payload, 0);
                    expected.push(payload);
                }
            }
            prop_assert_eq!(all(&mut ring), expected);
            prop_assert_eq!(kernel.consumed(), kernel.produced);
        }
    }
}
