//! The function table: its header in all versions, names, and where the functions of those names begin.

use memchr::memmem::Finder;

use super::bytes::{Reader, WINDOW};
use crate::elf::{Elf, ElfError, Machine, u32_at, u64_at};

/// Places that look like a header and are looked into; a program has one.
const MAX_HEADERS: usize = 8;
/// Functions of one program. Kubernetes' programs, among the largest, have some 150,000.
const MAX_FUNCTIONS: u64 = 4 * 1024 * 1024;
/// Bytes of all names.
const MAX_NAMES: u64 = 256 * 1024 * 1024;
/// Copies of `crypto/tls` in one program.
const MAX_COPIES: usize = 8;

/// How the table is laid out, by its first byte; the others of the magic number are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Go 1.2 to 1.15.
    Go12,
    /// Go 1.16 and 1.17: addresses.
    Go116,
    /// Go 1.18 and newer: offsets from the start of the code. (1.20 changed the magic number for what hangs on a function.)
    Go118,
}

/// Where a table seems to begin.
#[derive(Debug)]
pub(super) struct Header {
    layout: Layout,
    pub(super) address: u64,
    /// Offset in the file.
    offset: u64,
    /// Bytes from there to the end of the segment.
    limit: u64,
}

/// Searches the data of the file for headers.
pub(super) fn headers(elf: &Elf<'_>) -> Result<Vec<Header>, ElfError> {
    let quantum = match elf.machine {
        Machine::X86_64 => 1,
        Machine::Aarch64 => 4,
    };
    let magic = [0xff, 0xff, 0xff, 0, 0, quantum, 8];
    let finder = Finder::new(&magic);
    let separate = (elf.segments.iter()).any(|segment| !segment.writable && !segment.executable);
    let mut found = Vec::new();
    for segment in (elf.segments.iter()).filter(|segment| !(segment.executable && separate)) {
        elf.windows(segment, 8, |address, bytes, fresh| {
            for hit in finder.find_iter(bytes) {
                let Some(start) = hit.checked_sub(1).filter(|start| *start < fresh) else {
                    continue;
                };
                let layout = match bytes.get(start) {
                    Some(0xfb) => Layout::Go12,
                    Some(0xfa) => Layout::Go116,
                    Some(0xf0 | 0xf1) => Layout::Go118,
                    _ => continue,
                };
                let inside = address - segment.address + start as u64;
                // It is aligned to 8 at least.
                if (segment.address + inside).is_multiple_of(8) && found.len() < MAX_HEADERS {
                    found.push(Header {
                        layout,
                        address: segment.address + inside,
                        offset: segment.offset.saturating_add(inside),
                        limit: segment.size - inside,
                    });
                }
            }
        })?;
    }
    Ok(found)
}

/// A table whose header says where its parts are, all of them in its segment.
#[derive(Debug)]
pub(super) struct Table {
    layout: Layout,
    /// Address of the header.
    pub(super) address: u64,
    /// Where the code starts, if the header tells: Go 1.18 to about 1.25.
    pub(super) text_start: Option<u64>,
    functions: u64,
    /// Offset in the file, size.
    names: (u64, u64),
    /// Offset in the file of the list of functions, and of what is known of each.
    list: u64,
    list_address: u64,
    list_limit: u64,
}

/// Bytes of a header: magic number, then words.
const HEADER: u64 = 8 + 8 * 8;

impl Table {
    /// Reads the header; `None` for the layout before 1.16.
    pub(super) fn parse(reader: &Reader<'_, '_>, header: &Header) -> Result<Option<Self>, ElfError> {
        let (names_word, list_word, text_word) = match header.layout {
            Layout::Go12 => return Ok(None),
            Layout::Go116 => (2, 6, None),
            Layout::Go118 => (3, 7, Some(2)),
        };
        let mut bytes = [0; HEADER as usize];
        reader.read(header.offset, &mut bytes)?;
        let word = |index: usize| u64_at(&bytes, 8 + 8 * index);
        let (functions, names, names_end, list) =
            (word(0), word(names_word), word(names_word + 1), word(list_word));
        let malformed = |what| Err(ElfError::Malformed(what));
        if functions == 0 || functions > MAX_FUNCTIONS {
            return malformed("number of Go functions");
        }
        if names >= names_end || names_end > header.limit || names_end - names > MAX_NAMES {
            return malformed("names of Go functions");
        }
        let table = Self {
            layout: header.layout,
            address: header.address,
            text_start: text_word.map(word).filter(|start| *start != 0),
            functions,
            names: (header.offset.saturating_add(names), names_end - names),
            list: header.offset.saturating_add(list),
            list_address: header.address.saturating_add(list),
            list_limit: header.limit.saturating_sub(list),
        };
        if list >= header.limit || functions * table.entry_size() > table.list_limit {
            return malformed("list of Go functions");
        }
        Ok(Some(table))
    }

    /// Made by Go 1.16 or 1.17.
    pub(super) fn is_before_118(&self) -> bool {
        self.layout == Layout::Go116
    }

    /// Two words for each function: where it begins, and where more is said of it.
    const fn entry_size(&self) -> u64 {
        match self.layout {
            Layout::Go118 => 8,
            Layout::Go12 | Layout::Go116 => 16,
        }
    }

    /// Where the first function begins, as the list has it.
    pub(super) fn first_entry(&self, reader: &Reader<'_, '_>) -> Result<u64, ElfError> {
        match self.layout {
            Layout::Go118 => reader.u32_at(self.list).map(u64::from),
            Layout::Go12 | Layout::Go116 => reader.u64_at(self.list),
        }
    }

    /// Where a function begins, as the list has it.
    fn entry(&self, reader: &Reader<'_, '_>, number: u64) -> Result<u64, ElfError> {
        let at = number * self.entry_size();
        match self.layout {
            Layout::Go118 => reader.u32_at(self.list.saturating_add(at)).map(u64::from),
            Layout::Go12 | Layout::Go116 => {
                let slot = self.list_address.saturating_add(at);
                Ok(reader.pointer_at(slot)?.unwrap_or(0))
            }
        }
    }

    /// The functions that have one of these names. Reads the whole table, once if it is as linkers lay it out.
    pub(super) fn functions(
        &self,
        reader: &Reader<'_, '_>,
        names: &Names,
    ) -> Result<Vec<Function>, ElfError> {
        let mut found = Vec::new();
        let size = usize::try_from(self.entry_size()).unwrap_or(usize::MAX);
        let total = self.functions * self.entry_size();
        let mut at = 0;
        while at < total {
            let length = (total - at).min(WINDOW);
            reader.spend(length)?;
            let list = (reader.elf).read(
                "list of Go functions",
                self.list.saturating_add(at),
                length,
                WINDOW,
            )?;
            for (index, entry) in list.chunks_exact(size).enumerate() {
                let info = match self.layout {
                    Layout::Go118 => u64::from(u32_at(entry, 4)),
                    Layout::Go12 | Layout::Go116 => u64_at(entry, 8),
                };
                // Its first field is where it begins, once more; the second is its name.
                let name_field = match self.layout {
                    Layout::Go118 => 4,
                    Layout::Go12 | Layout::Go116 => 8,
                };
                if info.saturating_add(name_field + 4) > self.list_limit {
                    return Err(ElfError::Malformed("list of Go functions"));
                }
                let name = reader.u32_at(self.list.saturating_add(info + name_field))?;
                let Some(kind) = names.meaning(name) else {
                    continue;
                };
                let number = at / self.entry_size() + index as u64;
                // Behind the last function stands where it ends.
                let (start, end) = (self.entry(reader, number)?, self.entry(reader, number + 1)?);
                if found.len() < 4 * MAX_COPIES {
                    let size = end.saturating_sub(start);
                    found.push(Function {
                        entry: start,
                        size,
                        kind,
                    });
                }
            }
            at += length;
        }
        Ok(found)
    }
}

/// A function that was looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Where it begins: an address, or the distance from the start of the code.
    pub(super) entry: u64,
    /// Bytes up to the next function.
    pub(super) size: u64,
    /// Which.
    pub(super) kind: Kind,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The function that is handed the secrets.
    KeyLog,
    /// That which derives the keys of TLS 1.2.
    MasterKeys,
    /// `(*Conn).Read` of `crypto/tls` itself.
    Read,
    /// `(*Conn).Write` of the same.
    Write,
}

/// The names that are looked for, as offsets in the names of the table.
#[derive(Debug, Default)]
pub(super) struct Names {
    wanted: Vec<(u32, Kind)>,
    /// The program has `crypto/tls` connections.
    pub(super) has_tls: bool,
}

const KEY_LOG: &[u8] = b".(*Config).writeKeyLog\0";
const MASTER_KEYS: &[u8] = b".keysFromMasterSecret\0";
const CONNECTION: &[u8] = b"crypto/tls.(*Conn).Write\0";
/// Of `crypto/tls` alone: a copy of it may hand out objects that are built around these.
const CALLS: [(&[u8], Kind); 2] = [
    (b"\0crypto/tls.(*Conn).Read\0", Kind::Read),
    (b"\0crypto/tls.(*Conn).Write\0", Kind::Write),
];

impl Names {
    /// Searches the names, of `crypto/tls` and of copies of it, which have the same functions in another package.
    pub(super) fn find(reader: &Reader<'_, '_>, table: &Table) -> Result<Self, ElfError> {
        let (key_log, master_keys) = (Finder::new(KEY_LOG), Finder::new(MASTER_KEYS));
        let connection = Finder::new(CONNECTION);
        let calls = CALLS.map(|(name, kind)| (Finder::new(name), kind));
        let mut names = Self::default();
        // Package and offset: a copy has both functions.
        let (mut logs, mut keys) = (Vec::new(), Vec::new());
        let (offset, size) = table.names;
        reader.pieces(offset, size, |position, bytes, fresh| {
            names.has_tls |= connection.find(bytes).is_some();
            for (finder, kind) in &calls {
                let hits = finder.find_iter(bytes).filter(|at| fresh.contains(at));
                let offsets = hits.filter_map(|at| u32::try_from(position + at as u64 + 1).ok());
                let offsets: Vec<_> = offsets.map(|offset| (offset, *kind)).take(MAX_COPIES).collect();
                names.wanted.extend(offsets);
            }
            for (finder, list) in [(&key_log, &mut logs), (&master_keys, &mut keys)] {
                for at in finder.find_iter(bytes).filter(|at| fresh.contains(at)) {
                    let before = bytes.get(..at).unwrap_or_default();
                    let start = match memchr::memrchr(0, before) {
                        Some(end_of_last) => end_of_last + 1,
                        None if position == 0 => 0,
                        // No package has such a long name.
                        None => continue,
                    };
                    let package = before.get(start..).unwrap_or_default().to_vec();
                    let offset = u32::try_from(position + start as u64);
                    if let Ok(offset) = offset
                        && list.len() < MAX_COPIES
                    {
                        list.push((package, offset));
                    }
                }
            }
        })?;
        keys.retain(|(package, _)| logs.iter().any(|(of_log, _)| of_log == package));
        names.has_tls |= !logs.is_empty();
        for (list, kind) in [(logs, Kind::KeyLog), (keys, Kind::MasterKeys)] {
            names
                .wanted
                .extend(list.into_iter().map(|(_, offset)| (offset, kind)));
        }
        Ok(names)
    }

    /// Whose name is at `offset`; `None` if it is none that is looked for.
    fn meaning(&self, offset: u32) -> Option<Kind> {
        let mut wanted = self.wanted.iter();
        wanted.find_map(|(name, kind)| (*name == offset).then_some(*kind))
    }
}

/// Whether the table, of whatever layout, names functions of TLS connections.
pub(super) fn mentions_tls(reader: &Reader<'_, '_>, header: &Header) -> Result<bool, ElfError> {
    let connection = Finder::new(CONNECTION);
    let mut found = false;
    reader.pieces(header.offset, header.limit.min(MAX_NAMES), |_, bytes, _| {
        found = found || connection.find(bytes).is_some();
    })?;
    Ok(found)
}
