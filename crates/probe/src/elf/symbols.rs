//! Symbol tables: the addresses of the few functions we ask for.

use std::collections::HashMap;

use object::elf;

use super::parser::{Elf, u16_at, u32_at, u64_at};
use super::{ElfError, Section};

/// Largest symbol or string table read. Node's, among the largest in the field, are about 20 MiB each.
const MAX_TABLE: u64 = 128 * 1024 * 1024;

/// Functions by name, out of those that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    addresses: HashMap<&'static str, u64>,
    /// Why a table could not be read, if one could not.
    pub(crate) fault: Option<ElfError>,
    /// Whether there was any table.
    pub(crate) any_table: bool,
}

impl Symbols {
    /// Looks up in the dynamic table. `wanted` maps a name of the file to the name that it is kept under.
    pub(crate) fn dynamic(elf: &Elf<'_>, wanted: &impl Fn(&[u8]) -> Option<&'static str>) -> Self {
        let mut symbols = Self::default();
        symbols.read_tables(elf, elf::SHT_DYNSYM.0, wanted);
        symbols
    }

    /// Adds what only the full table has: tens of MiB in large programs, so only where it promises something. What the
    /// dynamic table says stays.
    pub(crate) fn add_full(&mut self, elf: &Elf<'_>, wanted: &impl Fn(&[u8]) -> Option<&'static str>) {
        self.read_tables(elf, elf::SHT_SYMTAB.0, wanted);
    }

    fn read_tables(&mut self, elf: &Elf<'_>, kind: u32, wanted: &impl Fn(&[u8]) -> Option<&'static str>) {
        if let Some(section) = elf.sections.iter().find(|section| section.kind == kind)
            && let Err(error) = self.read_table(elf, *section, wanted)
        {
            self.fault = Some(error);
        }
    }

    fn read_table(
        &mut self,
        elf: &Elf<'_>,
        section: Section,
        wanted: &impl Fn(&[u8]) -> Option<&'static str>,
    ) -> Result<(), ElfError> {
        let strings = (usize::try_from(section.link).ok())
            .and_then(|link| elf.sections.get(link))
            .ok_or(ElfError::Malformed("string table of a symbol table"))?;
        let table = elf.read("symbol table", section.offset, section.size, MAX_TABLE)?;
        let names = elf.read("string table", strings.offset, strings.size, MAX_TABLE)?;
        self.any_table = true;
        for entry in table.chunks_exact(24) {
            let kind = entry.get(4).map_or(0, |info| info & 0xf);
            let (section_index, address) = (u16_at(entry, 6), u64_at(entry, 8));
            let is_function = kind == elf::STT_FUNC.0 || kind == elf::STT_NOTYPE.0;
            if !is_function || section_index == elf::SHN_UNDEF.0 || address == 0 {
                continue;
            }
            let Some(tail) = names.get(u32_at(entry, 0) as usize..) else {
                continue;
            };
            // No name we ask for is longer.
            let head = tail.get(..64).unwrap_or(tail);
            let Some(end) = memchr::memchr(0, head) else {
                continue;
            };
            if let Some(name) = head.get(..end).and_then(wanted) {
                self.addresses.entry(name).or_insert(address);
            }
        }
        Ok(())
    }

    /// The address of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<u64> {
        self.addresses.get(name).copied()
    }

    /// Why a name that was asked for has no address.
    pub(crate) fn why_missing(&self) -> String {
        match &self.fault {
            Some(fault) => fault.to_string(),
            None if self.any_table => "not in the symbol tables".to_owned(),
            None => "the file has no symbol table".to_owned(),
        }
    }

    /// Whether `name` is defined.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.addresses.contains_key(name)
    }
}
