//! With which Go a program was built: asked only where the function table does not tell 1.16 from 1.17.

use memchr::memmem::Finder;

use super::bytes::Reader;
use crate::elf::ElfError;

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The version follows in place, not by a pointer: 1.18 and newer.
const INLINE: u8 = 2;

/// Whether it says "1.17" or newer. What does not say is older: then nothing is probed that would not be understood.
pub(super) fn is_117_or_newer(reader: &Reader<'_, '_>) -> Result<bool, ElfError> {
    let finder = Finder::new(MAGIC);
    let mut found = None;
    for segment in reader.elf.segments.iter().filter(|segment| segment.writable) {
        reader.elf.windows(segment, 32, |address, bytes, fresh| {
            for at in finder.find_iter(bytes).filter(|at| *at < fresh) {
                let flags = bytes.get(at + 15).copied();
                let address = address + at as u64;
                if address.is_multiple_of(16) {
                    found = found.or(flags.map(|flags| (address, flags)));
                }
            }
        })?;
    }
    let Some((address, flags)) = found else {
        return Ok(false);
    };
    if flags & INLINE != 0 {
        return Ok(true);
    }
    // Pointer to a string: pointer to its bytes, length.
    let Some(string) = reader.pointer_at(address + 16)? else {
        return Ok(false);
    };
    let (Some(text), Some(length)) = (reader.pointer_at(string)?, string.checked_add(8)) else {
        return Ok(false);
    };
    let length = match reader.offset(length, 8) {
        Some(offset) => reader.u64_at(offset)?.min(64),
        None => return Ok(false),
    };
    let mut version = vec![0; usize::try_from(length).unwrap_or(0)];
    let Some(offset) = reader.offset(text, length) else {
        return Ok(false);
    };
    reader.read(offset, &mut version)?;
    Ok(minor(&version).is_some_and(|minor| minor >= 17))
}

/// N of "go1.N", also in "devel go1.N-…".
fn minor(version: &[u8]) -> Option<u32> {
    const PREFIX: &[u8] = b"go1.";
    let at = memchr::memmem::find(version, PREFIX)? + PREFIX.len();
    let digits = version.get(at..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    let digits = digits.get(..end.unwrap_or(digits.len()))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_is_read() {
        for (text, expected) in [
            ("go1.17.8", Some(17)),
            ("go1.9", Some(9)),
            ("devel go1.18-0123 Thu", Some(18)),
            ("devel +0123456789 Thu", None),
            ("go1.x", None),
            ("", None),
        ] {
            assert_eq!(minor(text.as_bytes()), expected, "{text}");
        }
    }
}
