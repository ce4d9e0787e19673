//! Tables of pointers in data.

use memchr::memmem::Finder;

use crate::elf::{Elf, ElfError, Machine, Segment, u64_at};

/// Slots remembered for each address.
const MAX_SLOTS: usize = 256;
/// Bytes of relocations that are read: a browser has 20 MB.
const MAX_RELOCATIONS: u64 = 256 * 1024 * 1024;
const RELOCATION: usize = 24;

/// The addresses of the words that point to `address` once the file is loaded: by a relative relocation, or as they are
/// (packed relocations, and files of fixed address).
pub(crate) fn slots_of(elf: &Elf<'_>, address: u64) -> Result<Vec<u64>, ElfError> {
    let mut slots = relocated(elf, address)?;
    let value = address.to_le_bytes();
    let finder = Finder::new(&value);
    for segment in elf.segments.iter().filter(|segment| segment.writable) {
        elf.windows(segment, 7, |base, bytes, fresh| {
            let hits = finder.find_iter(bytes).take_while(|at| *at < fresh);
            let aligned = hits.map(|at| base + at as u64).filter(|slot| slot % 8 == 0);
            slots.extend(aligned.take(MAX_SLOTS));
        })?;
    }
    slots.sort_unstable();
    slots.dedup();
    slots.truncate(MAX_SLOTS);
    Ok(slots)
}

/// What the word at `slot` points to once the file is loaded.
pub(crate) fn pointer_at(elf: &Elf<'_>, slot: u64) -> Result<Option<u64>, ElfError> {
    let mut target = None;
    each_relative(elf, |at, addend| {
        if at == slot {
            target = Some(addend);
        }
    })?;
    if target.is_some() {
        return Ok(target);
    }
    let Some(offset) = elf.data_offset(slot) else {
        return Ok(None);
    };
    let value = elf.read("pointer", offset, 8, 8)?;
    Ok(Some(u64_at(&value, 0)).filter(|value| *value != 0))
}

/// The words of a writable segment once the file is loaded, as far as relative relocations tell, from its first word on. Empty if it has
/// more than `limit` bytes.
pub(crate) fn loaded_words(elf: &Elf<'_>, segment: &Segment, limit: u64) -> Result<Vec<u64>, ElfError> {
    let skipped = segment.address.wrapping_neg() % 8;
    let size = segment.size.saturating_sub(skipped);
    if size > limit {
        return Ok(Vec::new());
    }
    let bytes = elf.read("data", segment.offset.saturating_add(skipped), size, limit)?;
    let words = bytes.chunks_exact(8).map(|word| u64_at(word, 0));
    let mut words: Vec<u64> = words.collect();
    let first = segment.address.saturating_add(skipped);
    each_relative(elf, |slot, addend| {
        let index = slot.checked_sub(first).filter(|at| at % 8 == 0).map(|at| at / 8);
        let word = index.and_then(|index| words.get_mut(usize::try_from(index).ok()?));
        if let Some(word) = word {
            *word = addend;
        }
    })?;
    Ok(words)
}

/// Where `DT_RELA` puts `address`.
fn relocated(elf: &Elf<'_>, address: u64) -> Result<Vec<u64>, ElfError> {
    let mut slots = Vec::new();
    each_relative(elf, |slot, addend| {
        if addend == address && slots.len() < MAX_SLOTS {
            slots.push(slot);
        }
    })?;
    Ok(slots)
}

/// Visits the relative relocations of `DT_RELA`: where, and the address that is put there.
fn each_relative(elf: &Elf<'_>, mut visit: impl FnMut(u64, u64)) -> Result<(), ElfError> {
    /// Tags of the dynamic section: where the relocations are, and how many bytes.
    const DT_RELA: u64 = 7;
    const DT_RELASZ: u64 = 8;
    /// Read at a time.
    const PIECE: u64 = 2048 * RELOCATION as u64;
    let relative: u64 = match elf.machine {
        // R_X86_64_RELATIVE, R_AARCH64_RELATIVE.
        Machine::X86_64 => 8,
        Machine::Aarch64 => 1027,
    };
    let [table, size] = elf.dynamic_values([DT_RELA, DT_RELASZ])?;
    let Some(offset) = elf.data_offset(table).filter(|_| size > 0) else {
        return Ok(());
    };
    if size > MAX_RELOCATIONS {
        return Err(ElfError::TooLarge {
            what: "relocations",
            size,
            limit: MAX_RELOCATIONS,
        });
    }
    let mut at = 0;
    while at < size {
        let piece = elf.read(
            "relocations",
            offset.saturating_add(at),
            PIECE.min(size - at),
            PIECE,
        )?;
        for entry in piece.chunks_exact(RELOCATION) {
            if u64_at(entry, 8) == relative {
                visit(u64_at(entry, 0), u64_at(entry, 16));
            }
        }
        at += PIECE;
    }
    Ok(())
}
