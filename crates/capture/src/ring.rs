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

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: usize = 8;

/// How far a ring is written and read, for whoever does not consume it. Maps none of its data: all pages of a mapping count as ours.
#[derive(Debug)]
pub(crate) struct Positions {
    consumer: SharedMemory,
    producer: SharedMemory,
}

impl Positions {
    /// Those of the ring `map`.
    pub(crate) fn of(map: &MapHandle) -> Result<Self, Error> {
        let page = page_size();
        Ok(Self {
            consumer: share(map, 0, page, false)?,
            producer: share(map, page, page, false)?,
        })
    }

    /// Bytes that were not read yet.
    pub(crate) fn unread(&self) -> u64 {
        let position =
            |page: &SharedMemory| atomic(page.at(0)).map_or(0, |at: &AtomicU64| at.load(Ordering::Acquire));
        let read = position(&self.consumer);
        position(&self.producer).saturating_sub(read)
    }
}

fn share(map: &MapHandle, offset: usize, length: usize, writable: bool) -> Result<SharedMemory, Error> {
    SharedMemory::map(&map.as_fd(), offset, length, writable).map_err(|source| Error::System {
        attempt: "map a ring buffer",
        source,
    })
}

/// The consumer of one ring.
#[derive(Debug)]
pub(crate) struct Ring {
    map: MapHandle,
    consumer: SharedMemory,
    producer: SharedMemory,
    data: usize,
    mask: u64,
    read: u64,
}

impl Ring {
    /// Maps the ring `map`.
    pub(crate) fn new(map: MapHandle) -> Result<Self, Error> {
        let page = page_size();
        let size = map.max_entries() as usize;
        let consumer = share(&map, 0, page, true)?;
        // The data are mapped twice in a row, so that no record wraps.
        let producer = share(&map, page, page + 2 * size, false)?;
        let mut ring = Self {
            map,
            consumer,
            producer,
            data: page,
            mask: size as u64 - 1,
            read: 0,
        };
        ring.read = ring
            .consumer_position()
            .map_or(0, |at| at.load(Ordering::Acquire));
        Ok(ring)
    }

    /// The map, for waiting.
    pub(crate) fn map(&self) -> &MapHandle {
        &self.map
    }

    fn consumer_position(&self) -> Option<&AtomicU64> {
        atomic(self.consumer.at(0))
    }

    /// How far the kernel has reserved.
    pub(crate) fn produced(&self) -> u64 {
        atomic(self.producer.at(0)).map_or(self.read, |at: &AtomicU64| at.load(Ordering::Acquire))
    }

    /// How far we have read.
    pub(crate) fn consumed(&self) -> u64 {
        self.read
    }

    /// Hands out the records before `until`, at most `limit` bytes of them, and frees their room one by one. Returns the number of
    /// records. Stops early at a record that is reserved but not yet committed.
    pub(crate) fn consume(&mut self, until: u64, limit: u64, mut handler: impl FnMut(&[u8])) -> usize {
        let stop = until.min(self.read.saturating_add(limit));
        let mut records = 0;
        while self.read < stop {
            let offset = self.data + (self.read & self.mask) as usize;
            let Some(header) = self.producer.at::<AtomicU32>(offset) else {
                break;
            };
            // SAFETY: points into the mapping, which lives as long as self; the kernel writes it atomically.
            let length = unsafe { header.as_ref() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let size = (length & !DISCARD) as usize;
            if length & DISCARD == 0 {
                // SAFETY: a committed record is not written until we pass it by.
                let Some(record) = (unsafe { self.producer.bytes(offset + HEADER, size) }) else {
                    break;
                };
                handler(record);
                records += 1;
            }
            self.read += (size + HEADER).next_multiple_of(8) as u64;
            if let Some(position) = self.consumer_position() {
                position.store(self.read, Ordering::Release);
            }
        }
        records
    }
}

fn atomic<'a>(at: Option<NonNull<AtomicU64>>) -> Option<&'a AtomicU64> {
    // SAFETY: `at` comes from a mapping that lives as long as the ring, whose methods do not let the reference out.
    at.map(|at| unsafe { at.as_ref() })
}
