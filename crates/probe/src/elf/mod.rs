//! Reading ELF files: only what is needed, in bounded pieces, believing no size that the file claims.
//!
//! Files are read and not mapped: a mapped file that somebody truncates kills the reader by SIGBUS.

mod note;
mod parser;
mod scan;
mod symbols;

use parser::Section;
pub(crate) use parser::{Elf, Machine, Segment, u32_at, u64_at};
pub(crate) use symbols::Symbols;

/// Why a file could not be read as ELF.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// No ELF magic: a data file, a JIT's memory file.
    #[error("not an ELF file")]
    NotElf,
    /// 32-bit code.
    #[error("32-bit programs are not supported")]
    Class32,
    /// Code of another machine, or big-endian.
    #[error("code of another machine (e_machine {0})")]
    ForeignMachine(u16),
    /// What the headers say does not fit the file.
    #[error("malformed ELF: {0}")]
    Malformed(&'static str),
    /// A part is larger than we read.
    #[error("{what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// How large it says it is.
        size: u64,
        /// What we read at most.
        limit: u64,
    },
    /// The operating system refused.
    #[error("cannot read {what}: {source}")]
    Read {
        /// Which part.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}
