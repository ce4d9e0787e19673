//! Where the code starts: what the function table counts from.
//!
//! Go 1.18 to about 1.25 have it in the table's header. Newer ones have it in the module data only, which begins with the
//! address of the header: `pcHeader`, six slices, `findfunctab`, `minpc`, `maxpc`, `text` (all since 1.16).

use memchr::memmem::Finder;

use super::bytes::Reader;
use super::table::Table;
use crate::elf::{Elf, ElfError};

const MIN_PC: u64 = 20 * 8;
const TEXT: u64 = 22 * 8;
/// Words with the address of the header that are looked at; a program has one or two.
const MAX_CANDIDATES: usize = 16;

/// What entries of functions are added to.
pub(super) struct Start<'e, 'f> {
    elf: &'e Elf<'f>,
    address: Option<u64>,
}

impl Start<'_, '_> {
    /// The address of a function's first instruction, if it is code of the file.
    pub(super) fn address(&self, entry: u64) -> Option<u64> {
        let address = self.address?.checked_add(entry)?;
        self.elf.code_offset(address).map(|_| address)
    }
}

pub(super) fn start<'e, 'f>(reader: &Reader<'e, 'f>, table: &Table) -> Result<Start<'e, 'f>, ElfError> {
    let elf = reader.elf;
    let address = if table.is_before_118() {
        Some(0)
    } else if let Some(start) = table.text_start {
        Some(start)
    } else {
        from_module_data(reader, table)?
    };
    Ok(Start { elf, address })
}

fn from_module_data(reader: &Reader<'_, '_>, table: &Table) -> Result<Option<u64>, ElfError> {
    let first = table.first_entry(reader)?;
    let mut candidates = Vec::new();
    // In place, as most linkers leave it.
    let wanted = table.address.to_le_bytes();
    let finder = Finder::new(&wanted);
    for segment in reader.elf.segments.iter().filter(|segment| !segment.executable) {
        reader.elf.windows(segment, 8, |base, bytes, fresh| {
            let hits = finder.find_iter(bytes).filter(|at| *at < fresh);
            candidates.extend(hits.map(|at| base + at as u64).take(MAX_CANDIDATES));
        })?;
    }
    candidates.truncate(MAX_CANDIDATES);
    // Or as a relocation alone.
    reader.relocations(|at, addend| {
        if addend == table.address && candidates.len() < 2 * MAX_CANDIDATES && !candidates.contains(&at) {
            candidates.push(at);
        }
    })?;
    for module in candidates {
        let field = |offset: u64| match module.checked_add(offset) {
            Some(address) => reader.pointer_at(address),
            None => Ok(None),
        };
        if let (Some(least), Some(text)) = (field(MIN_PC)?, field(TEXT)?)
            && text.checked_add(first) == Some(least)
            && reader.elf.code_offset(text).is_some()
        {
            return Ok(Some(text));
        }
    }
    Ok(None)
}
