//! Where a process keeps what it allocates: mappings that are private, writable and of no file, and which of their pages are in memory.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use qtap_capture::Pid;

use crate::maps::{MAX_MAPS, split_fields};

/// Regions of a process that are looked at.
const MAX_REGIONS: usize = 16 * 1024;
/// Entries of `pagemap` that are read at a time.
const ENTRIES: usize = 512;
const ENTRY_BYTES: usize = size_of::<u64>();

/// Bits of an entry (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;

/// The regions of `pid`, the heap of brk(2) first.
pub(super) fn read_regions(pid: Pid) -> io::Result<Vec<Range<u64>>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{}/maps", pid.0))?
        .take(MAX_MAPS)
        .read_to_end(&mut text)?;
    Ok(parse_regions(&text))
}

/// Lines that are not understood are left out.
fn parse_regions(text: &[u8]) -> Vec<Range<u64>> {
    let mut regions: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .filter_map(parse_region)
        .take(MAX_REGIONS)
        .collect();
    regions.sort_by_key(|(_, is_heap)| !is_heap);
    regions.into_iter().map(|(range, _)| range).collect()
}

/// `7f…-7f… rw-p 00000000 00:00 0    [heap]`, with whether it is that one. Stacks have what is under way only.
fn parse_region(line: &[u8]) -> Option<(Range<u64>, bool)> {
    let (fields, name) = split_fields(line)?;
    let [range, permissions, _, _, inode] = fields;
    let is_heap = name == b"[heap]";
    let is_allocated = is_heap || name.is_empty() || name.starts_with(b"[anon:");
    if !permissions.starts_with("rw") || !permissions.ends_with('p') || inode != "0" || !is_allocated {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (start, end) = (
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    );
    (start < end).then_some((start..end, is_heap))
}

/// Tells which pages of a process are in memory. Those that are not are left alone: to read them would make them, or fetch them from where they
/// were swapped out to.
pub(super) struct Pages {
    pagemap: File,
    page_bytes: u64,
}

impl Pages {
    pub(super) fn open(pid: Pid) -> io::Result<Self> {
        Ok(Self {
            pagemap: File::open(format!("/proc/{}/pagemap", pid.0))?,
            page_bytes: rustix::param::page_size() as u64,
        })
    }

    /// Calls `run` with each stretch of pages of `region` that are in memory and the process' own, until it says `false`. Tells whether it went to
    /// the end.
    pub(super) fn each_run(
        &self,
        region: &Range<u64>,
        mut run: impl FnMut(Range<u64>) -> bool,
    ) -> io::Result<bool> {
        let mut buffer = [0_u8; ENTRIES * ENTRY_BYTES];
        let (mut page, last) = (region.start / self.page_bytes, region.end / self.page_bytes);
        while page < last {
            let wanted = usize::try_from(last - page).map_or(ENTRIES, |left| left.min(ENTRIES));
            let Some(buffer) = buffer.get_mut(..wanted * ENTRY_BYTES) else {
                return Ok(true);
            };
            let read = self.pagemap.read_at(buffer, page * ENTRY_BYTES as u64)?;
            let (entries, _) = buffer.get(..read).unwrap_or_default().as_chunks::<ENTRY_BYTES>();
            if entries.is_empty() {
                // Nothing is mapped there any more.
                return Ok(true);
            }
            for stretch in runs(entries.iter().map(|entry| u64::from_ne_bytes(*entry))) {
                let address = |place: u64| (page + place) * self.page_bytes;
                if !run(address(stretch.start)..address(stretch.end)) {
                    return Ok(false);
                }
            }
            page += entries.len() as u64;
        }
        Ok(true)
    }
}

/// Stretches of entries of pages that are in memory and of no file.
fn runs(entries: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for (place, entry) in (0_u64..).zip(entries) {
        if entry & (PRESENT | OF_FILE) != PRESENT {
            continue;
        }
        match runs.last_mut() {
            Some(last) if last.end == place => last.end = place + 1,
            _ => runs.push(place..place + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_looked_at_and_nothing_else() {
        let maps = b"\
00400000-00401000 rw-p 00000000 fe:00 12 /usr/bin/x
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 
7f0000001000-7f0000002000 rw-s 00000000 00:01 5 /dev/shm/x
7f0000002000-7f0000003000 r--p 00000000 00:00 0 
7f0000003000-7f0000004000 rw-p 00000000 00:00 0 [anon:glibc: malloc]
7f0000004000-7f0000005000 ---p 00000000 00:00 0 
01000000-01002000 rw-p 00000000 00:00 0 [heap]
7fff00000000-7fff00021000 rw-p 00000000 00:00 0 [stack]
rubbish
9000-8000 rw-p 00000000 00:00 0 
";
        assert_eq!(
            parse_regions(maps),
            [
                0x0100_0000..0x0100_2000,
                0x7f00_0000_0000..0x7f00_0000_1000,
                0x7f00_0000_3000..0x7f00_0000_4000
            ]
        );
    }

    #[test]
    fn pages_that_are_not_there_and_those_of_files_end_a_run() {
        let entries = [PRESENT, PRESENT, 0, PRESENT | OF_FILE, 1 << 62, PRESENT];
        assert_eq!(runs(entries.into_iter()), [0..2, 5..6]);
        assert!(runs([].into_iter()).is_empty());
    }
}
