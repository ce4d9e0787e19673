//! Reading a file in places, through one window, within a budget.

use std::cell::{Cell, RefCell};

use crate::elf::{Elf, ElfError, Segment};

/// Bytes read at a time.
pub(super) const WINDOW: u64 = 64 * 1024;
/// Bytes read of one file in all. The function table of the largest Go programs is some 100 MiB, and is read little more than
/// once.
const BUDGET: u64 = 1024 * 1024 * 1024;
/// A relative relocation: the word is the addend, moved with the program.
const R_X86_64_RELATIVE: u64 = 8;
const R_AARCH64_RELATIVE: u64 = 1027;
const SHT_RELA: u32 = 4;
const RELA_SIZE: u64 = 24;
/// See [`Reader::pieces`]: no name looked for is longer.
const OVERLAP: u64 = 512;
const WHAT: &str = "Go function table";

/// Fills `bytes`, which begin at `offset`, from the window at `at`, if it has them all.
fn copy(window: &[u8], at: u64, offset: u64, bytes: &mut [u8]) -> bool {
    let from = offset.checked_sub(at).and_then(|from| usize::try_from(from).ok());
    let found = from.and_then(|from| window.get(from..from.checked_add(bytes.len())?));
    if let Some(found) = found {
        bytes.copy_from_slice(found);
    }
    found.is_some()
}

/// What is read of a file, by address or offset.
pub(super) struct Reader<'e, 'f> {
    pub(super) elf: &'e Elf<'f>,
    window: RefCell<Vec<u8>>,
    /// Offset in the file of the window.
    window_at: Cell<u64>,
    budget: Cell<u64>,
}

impl<'e, 'f> Reader<'e, 'f> {
    pub(super) fn new(elf: &'e Elf<'f>) -> Self {
        Self {
            elf,
            window: RefCell::new(Vec::new()),
            window_at: Cell::new(0),
            budget: Cell::new(BUDGET),
        }
    }

    /// The segment that holds `address`.
    pub(super) fn segment(&self, address: u64) -> Option<&'e Segment> {
        (self.elf.segments.iter())
            .find(|segment| address >= segment.address && address - segment.address < segment.size)
    }

    /// The offset in the file of `size` bytes at `address`.
    pub(super) fn offset(&self, address: u64, size: u64) -> Option<u64> {
        let segment = self.segment(address)?;
        let inside = address - segment.address;
        (segment.size - inside >= size).then_some(segment.offset.checked_add(inside)?)
    }

    /// Reads `bytes.len()` bytes at an offset in the file. Cheap where it was read lately, a little further on best of all.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ElfError> {
        let mut window = self.window.borrow_mut();
        if copy(&window, self.window_at.get(), offset, bytes) {
            return Ok(());
        }
        let length = self.elf.length().saturating_sub(offset).min(WINDOW);
        self.spend(length)?;
        *window = self.elf.read(WHAT, offset, length, WINDOW)?;
        self.window_at.set(offset);
        if copy(&window, offset, offset, bytes) {
            Ok(())
        } else {
            Err(ElfError::Malformed(WHAT))
        }
    }

    /// Calls `visit(position, bytes, fresh)` for pieces of `size` bytes at an offset in the file. `position` is that of the
    /// first byte; pieces overlap by [`OVERLAP`] on both sides, and only what begins at an index in `fresh` is the piece's to report.
    pub(super) fn pieces(
        &self,
        offset: u64,
        size: u64,
        mut visit: impl FnMut(u64, &[u8], std::ops::Range<usize>),
    ) -> Result<(), ElfError> {
        let mut at = 0;
        while at < size {
            let before = at.min(OVERLAP);
            let end = at.saturating_add(WINDOW + OVERLAP).min(size);
            let length = end - at + before;
            self.spend(length)?;
            let from = offset.saturating_add(at - before);
            let bytes = self.elf.read(WHAT, from, length, WINDOW + 2 * OVERLAP)?;
            let fresh = [before, before + WINDOW].map(|index| usize::try_from(index).unwrap_or(usize::MAX));
            visit(at - before, &bytes, fresh[0]..fresh[1].min(bytes.len()));
            at += WINDOW;
        }
        Ok(())
    }

    /// A word of four bytes.
    pub(super) fn u32_at(&self, offset: u64) -> Result<u32, ElfError> {
        let mut word = [0; 4];
        self.read(offset, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    /// A word of eight bytes.
    pub(super) fn u64_at(&self, offset: u64) -> Result<u64, ElfError> {
        let mut word = [0; 8];
        self.read(offset, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// The pointer at `address`: linkers leave it in place, or in a relocation alone.
    pub(super) fn pointer_at(&self, address: u64) -> Result<Option<u64>, ElfError> {
        let Some(offset) = self.offset(address, 8) else {
            return Ok(None);
        };
        let word = self.u64_at(offset)?;
        if word != 0 || self.elf.fixed_address {
            return Ok(Some(word));
        }
        let mut found = None;
        self.relocations(|at, addend| {
            if at == address {
                found = Some(addend);
            }
        })?;
        Ok(found)
    }

    /// Calls `visit(address, addend)` for every relative relocation.
    pub(super) fn relocations(&self, mut visit: impl FnMut(u64, u64)) -> Result<(), ElfError> {
        for section in self
            .elf
            .sections
            .iter()
            .filter(|section| section.kind == SHT_RELA)
        {
            let mut at = 0;
            while at < section.size {
                let size = (section.size - at).min(WINDOW / RELA_SIZE * RELA_SIZE);
                self.spend(size)?;
                let offset = section.offset.saturating_add(at);
                let entries = self.elf.read("relocations", offset, size, WINDOW)?;
                for entry in entries.chunks_exact(24) {
                    let word = |index: usize| {
                        let bytes = entry.get(index * 8..index * 8 + 8);
                        bytes
                            .and_then(|bytes| bytes.try_into().ok())
                            .map_or(0, u64::from_le_bytes)
                    };
                    if matches!(word(1), R_X86_64_RELATIVE | R_AARCH64_RELATIVE) {
                        visit(word(0), word(2));
                    }
                }
                at += size;
            }
        }
        Ok(())
    }

    /// Counts bytes that are about to be read.
    pub(super) fn spend(&self, size: u64) -> Result<(), ElfError> {
        let limit = self.budget.get();
        let left = limit.checked_sub(size).ok_or(ElfError::TooLarge {
            what: WHAT,
            size,
            limit,
        })?;
        self.budget.set(left);
        Ok(())
    }
}
