//! ELF header, program headers, section headers.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use object::elf;

use super::ElfError;
use super::note::build_id;
use super::scan::SCAN_BUDGET;
use crate::identity::BuildId;

const MAX_SEGMENTS: usize = 256;
const MAX_SECTIONS: usize = 16 * 1024;
const MAX_NOTES: u64 = 64 * 1024;

/// Whose instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// Its number in ELF headers.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::X86_64 => elf::EM_X86_64.0,
            Self::Aarch64 => elf::EM_AARCH64.0,
        }
    }

    /// What this agent runs on; only its code can be probed.
    pub(crate) const HOST: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else {
        None
    };
}

/// A loadable segment, cut to what the file really has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}

/// A section header, as far as symbols need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) link: u32,
}

/// An opened ELF file of this machine.
#[derive(Debug)]
pub(crate) struct Elf<'f> {
    file: &'f File,
    length: u64,
    pub(super) scan_budget: Cell<u64>,
    pub(crate) machine: Machine,
    /// Linked to fixed addresses (`ET_EXEC`).
    pub(crate) fixed_address: bool,
    pub(crate) segments: Vec<Segment>,
    /// Where the dynamic section is: address and size.
    dynamic: Option<(u64, u64)>,
    pub(crate) sections: Vec<Section>,
    pub(crate) build_id: Option<BuildId>,
}

impl<'f> Elf<'f> {
    /// Reads the headers: a few KiB whatever the size of the file.
    pub(crate) fn parse(file: &'f File, length: u64) -> Result<Self, ElfError> {
        let mut reader = Self {
            file,
            length,
            scan_budget: Cell::new(SCAN_BUDGET),
            machine: Machine::X86_64,
            fixed_address: false,
            segments: Vec::new(),
            dynamic: None,
            sections: Vec::new(),
            build_id: None,
        };
        if length < 64 {
            return Err(ElfError::NotElf);
        }
        let header = reader.read("ELF header", 0, 64, 64)?;
        if header.get(..4) != Some(&elf::ELFMAG) {
            return Err(ElfError::NotElf);
        }
        let kind = u16_at(&header, 16);
        let machine = u16_at(&header, 18);
        if header.get(4) != Some(&elf::ELFCLASS64.0) {
            return Err(ElfError::Class32);
        }
        reader.machine = match (
            header.get(5).copied().map(elf::DataEncoding),
            elf::Machine(machine),
        ) {
            (Some(elf::ELFDATA2LSB), elf::EM_X86_64) => Machine::X86_64,
            (Some(elf::ELFDATA2LSB), elf::EM_AARCH64) => Machine::Aarch64,
            _ => return Err(ElfError::ForeignMachine(machine)),
        };
        reader.fixed_address = kind == elf::ET_EXEC.0;
        reader.read_segments(&header)?;
        reader.read_sections(&header)?;
        Ok(reader)
    }

    fn read_segments(&mut self, header: &[u8]) -> Result<(), ElfError> {
        let count = usize::from(u16_at(header, 56));
        if u16_at(header, 54) != 56 {
            return Err(ElfError::Malformed("size of a program header"));
        }
        if count > MAX_SEGMENTS {
            return Err(ElfError::Malformed("too many program headers"));
        }
        let table = self.read(
            "program headers",
            u64_at(header, 32),
            56 * count as u64,
            56 * MAX_SEGMENTS as u64,
        )?;
        for entry in table.chunks_exact(56) {
            let (offset, address, size) = (u64_at(entry, 8), u64_at(entry, 16), u64_at(entry, 32));
            let size = size.min(self.length.saturating_sub(offset));
            match elf::ProgramType(u32_at(entry, 0)) {
                elf::PT_LOAD if address.checked_add(size).is_some() => {
                    let flags = u32_at(entry, 4);
                    self.segments.push(Segment {
                        address,
                        offset,
                        size,
                        executable: flags & elf::PF_X.0 != 0,
                        writable: flags & elf::PF_W.0 != 0,
                    });
                }
                elf::PT_NOTE if self.build_id.is_none() && size <= MAX_NOTES => {
                    let align = u64_at(entry, 48);
                    let notes = self.read("notes", offset, size, MAX_NOTES)?;
                    self.build_id = build_id(&notes, align);
                }
                elf::PT_DYNAMIC => self.dynamic = Some((address, size)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Section headers are optional: what cannot be read here leaves the file without symbols, not unread.
    fn read_sections(&mut self, header: &[u8]) -> Result<(), ElfError> {
        let (offset, count) = (u64_at(header, 40), usize::from(u16_at(header, 60)));
        let end = offset.checked_add(64 * count as u64);
        if offset == 0
            || u16_at(header, 58) != 64
            || count > MAX_SECTIONS
            || end.is_none_or(|end| end > self.length)
        {
            return Ok(());
        }
        let table = self.read(
            "section headers",
            offset,
            64 * count as u64,
            64 * MAX_SECTIONS as u64,
        )?;
        self.sections = table
            .chunks_exact(64)
            .map(|entry| Section {
                kind: u32_at(entry, 4),
                offset: u64_at(entry, 24),
                size: u64_at(entry, 32),
                link: u32_at(entry, 40),
            })
            .collect();
        Ok(())
    }

    /// Bytes of the file.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Reads `size` bytes at `offset`; refuses what is over `limit` or not in the file before allocating.
    pub(crate) fn read(
        &self,
        what: &'static str,
        offset: u64,
        size: u64,
        limit: u64,
    ) -> Result<Vec<u8>, ElfError> {
        if size > limit {
            return Err(ElfError::TooLarge { what, size, limit });
        }
        if offset.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(ElfError::Malformed(what));
        }
        let size = usize::try_from(size).map_err(|_| ElfError::Malformed(what))?;
        let mut bytes = vec![0; size];
        self.read_into(what, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes` from `offset`.
    pub(crate) fn read_into(
        &self,
        what: &'static str,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), ElfError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|source| ElfError::Read { what, source })
    }

    /// The segments in which constant texts lie: the read-only ones, or, if the linker made none, those of the code.
    pub(crate) fn text_segments(&self) -> impl Iterator<Item = &Segment> {
        let separate = self
            .segments
            .iter()
            .any(|segment| !segment.writable && !segment.executable);
        (self.segments.iter()).filter(move |segment| !segment.writable && segment.executable != separate)
    }

    /// The values of the dynamic section for these tags (`DT_…`), 0 where it has none.
    pub(crate) fn dynamic_values<const N: usize>(&self, tags: [u64; N]) -> Result<[u64; N], ElfError> {
        const MAX_DYNAMIC: u64 = 64 * 1024;
        let mut values = [0; N];
        let Some((address, size)) = self.dynamic else {
            return Ok(values);
        };
        let Some(offset) = self.data_offset(address) else {
            return Err(ElfError::Malformed("address of the dynamic section"));
        };
        let table = self.read("dynamic section", offset, size, MAX_DYNAMIC)?;
        for entry in table.chunks_exact(16) {
            for (value, _) in (values.iter_mut().zip(tags)).filter(|(_, tag)| *tag == u64_at(entry, 0)) {
                *value = u64_at(entry, 8);
            }
        }
        Ok(values)
    }

    /// The file offset of what is loaded at `address`.
    pub(crate) fn data_offset(&self, address: u64) -> Option<u64> {
        let inside = |segment: &Segment| {
            address
                .checked_sub(segment.address)
                .filter(|at| *at < segment.size)
        };
        self.segments
            .iter()
            .find_map(|segment| segment.offset.checked_add(inside(segment)?))
    }

    /// The file offset of executable code at `address`.
    pub(crate) fn code_offset(&self, address: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            segment.executable && address >= segment.address && address - segment.address < segment.size
        };
        let segment = self.segments.iter().find(holds)?;
        (address - segment.address).checked_add(segment.offset)
    }

    /// Code bytes at `address`: up to `size`, fewer at the end of the segment.
    pub(crate) fn code_at(&self, address: u64, size: usize) -> Result<Vec<u8>, ElfError> {
        let Some(segment) = (self.segments.iter())
            .find(|s| s.executable && address >= s.address && address - s.address < s.size)
        else {
            return Ok(Vec::new());
        };
        let inside = address - segment.address;
        let size = (segment.size - inside).min(size as u64);
        self.read("code", segment.offset + inside, size, size)
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    array_at(bytes, at).map_or(0, u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    array_at(bytes, at).map_or(0, u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    array_at(bytes, at).map_or(0, u64::from_le_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
