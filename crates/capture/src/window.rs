//! The part of a ring's data that is mapped.

use std::io;
use std::os::fd::AsFd;

use crate::shared::{SharedMemory, page_size};

/// Most bytes of a ring that are mapped to read on, and the share of the ring that they are.
const MOST: usize = 1 << 20;
const SHARE: usize = 16;
/// Least bytes.
const LEAST: usize = 64 << 10;

/// Maps of a ring's data what is being read, and moves along with the reader.
///
/// All pages of a mapping of a BPF ring count as resident from the start, and the kernel shows the data twice in a row, so that no record
/// wraps: 16 MiB of ring were 32 MiB of the agent's. Moving the window costs two system calls each [`MOST`] bytes.
#[derive(Debug)]
pub(crate) struct Window<F> {
    file: F,
    /// Where the data begin in the file.
    data: usize,
    /// Bytes of the ring; a power of two, and whole pages.
    ring: usize,
    page: usize,
    mapped: Option<Mapped>,
}

#[derive(Debug)]
struct Mapped {
    memory: SharedMemory,
    /// Its first byte, in the ring.
    start: usize,
    length: usize,
}

impl Mapped {
    /// Where in the mapping the `length` bytes at `offset` of the ring are.
    fn place(&self, offset: usize, length: usize) -> Option<usize> {
        let place = offset.checked_sub(self.start)?;
        (place + length <= self.length).then_some(place)
    }
}

impl<F: AsFd> Window<F> {
    /// Of the ring of `ring` bytes in `file`, whose data begin at `data` and are there twice in a row. Maps nothing yet.
    pub(crate) fn new(file: F, data: usize, ring: usize) -> Self {
        Self {
            file,
            data,
            ring,
            page: page_size(),
            mapped: None,
        }
    }

    pub(crate) fn file(&self) -> &F {
        &self.file
    }

    /// Memory that has the `length` bytes at `offset`, and where in it. `offset` lies in the ring, the end may lie beyond its end by at
    /// most the ring: that is its beginning again.
    ///
    /// # Errors
    /// When the system refuses the mapping.
    pub(crate) fn reach(&mut self, offset: usize, length: usize) -> io::Result<(&SharedMemory, usize)> {
        let place = self
            .mapped
            .as_ref()
            .and_then(|mapped| mapped.place(offset, length));
        if place.is_none() {
            self.move_to(offset, length)?;
        }
        let mapped = self
            .mapped
            .as_ref()
            .ok_or_else(|| io::Error::other("no part of the ring is mapped"))?;
        Ok((&mapped.memory, place.unwrap_or(offset - mapped.start)))
    }

    #[cold]
    fn move_to(&mut self, offset: usize, length: usize) -> io::Result<()> {
        let start = offset - offset % self.page;
        let needed = (offset - start + length).next_multiple_of(self.page);
        let usual = (self.ring / SHARE).clamp(LEAST, MOST);
        let length = needed.max(usual).min(2 * self.ring - start);
        // The former one first: only one counts as resident at any time.
        self.mapped = None;
        let memory = SharedMemory::map(&self.file, self.data + start, length, false)?;
        self.mapped = Some(Mapped {
            memory,
            start,
            length,
        });
        Ok(())
    }
}
