//! Traffic secrets in the memory of a running process, for connections whose handshake nobody saw.
//!
//! A library that can update its keys (RFC 8446 §7.2) keeps the current traffic secrets of each connection. Where it has no function that could
//! be probed for its plaintext (rustls), that is the only way to a connection that is older than the probes.
//!
//! In: a process, and how much of it may be read. Out: [`Harvest`], a list of what looks like a secret; whether one is, only a record that opens
//! under it tells. The process is not stopped, and nothing is written: `/proc/PID/mem` is read, in pieces, only where pages
//! are in memory. All but the candidates is forgotten with the piece it was in.

mod pattern;
mod regions;

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use qtap_capture::Pid;
use zeroize::Zeroizing;

use pattern::{BLOCK_BYTES, Block, find_blocks};
use regions::{Pages, read_regions};

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes of a piece that may begin a block which ends in the next.
const OVERLAP: usize = BLOCK_BYTES - 8;
/// Pieces that could not be read, after which the rest is left.
const MAX_FAULTS: u64 = 4096;

/// Bounds of one search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Bytes read. Default 1 GiB.
    pub bytes: u64,
    /// Candidates kept, each once. Default 4,096: two for each of 2,000 connections.
    pub secrets: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            secrets: 4096,
        }
    }
}

/// What may be a traffic secret of TLS 1.3.
#[derive(Clone, PartialEq, Eq)]
pub struct MemorySecret {
    /// 32 or 48 bytes, wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Secrets that lay side by side have the same: they are of one connection.
    pub group: u32,
}

impl std::fmt::Debug for MemorySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemorySecret")
            .field("length", &self.bytes.len())
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Harvest {
    /// Candidates.
    pub secrets: Vec<MemorySecret>,
    /// Bytes read.
    pub bytes: u64,
    /// Pieces that could not be read: they were unmapped meanwhile.
    pub faults: u64,
    /// A bound was reached: there may be more.
    pub is_cut: bool,
}

/// Searches the memory of `pid`; goes on as long as `go_on` says so, which is asked before each piece of 256 KiB.
/// Cost: 0.3 s of processor time for 1 GiB (measured with `examples/search_memory.rs`).
///
/// # Errors
/// The process is gone or may not be inspected (`CAP_SYS_PTRACE`).
pub fn search_memory(pid: Pid, limits: MemoryLimits, mut go_on: impl FnMut() -> bool) -> io::Result<Harvest> {
    let regions = read_regions(pid)?;
    let pages = Pages::open(pid)?;
    let memory = File::open(format!("/proc/{}/mem", pid.0))?;
    let mut search = Search::new(limits);
    for region in &regions {
        let went_on = pages.each_run(region, |run| {
            search.run(run, |buffer, address| memory.read_at(buffer, address), &mut go_on)
        })?;
        if !went_on {
            search.harvest.is_cut = true;
            break;
        }
    }
    Ok(search.harvest)
}

/// A search under way.
struct Search {
    limits: MemoryLimits,
    harvest: Harvest,
    /// Places in the harvest of the secrets with a hash.
    known: HashMap<u64, Vec<usize>>,
    hasher: RandomState,
    /// Address behind the last block, its length, and its group.
    last: Option<(u64, usize, u32)>,
    groups: u32,
    buffer: Zeroizing<Vec<u8>>,
    /// Where the next run would go on, and how many bytes at the front of the buffer are from before it.
    next: u64,
    carried: usize,
}

impl Search {
    fn new(limits: MemoryLimits) -> Self {
        Self {
            limits,
            harvest: Harvest::default(),
            known: HashMap::new(),
            hasher: RandomState::new(),
            last: None,
            groups: 0,
            buffer: Zeroizing::new(vec![0; OVERLAP + PIECE_BYTES]),
            next: 0,
            carried: 0,
        }
    }

    /// Searches a run of pages through `read`. Tells whether there may be more.
    fn run(
        &mut self,
        run: Range<u64>,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
        go_on: &mut impl FnMut() -> bool,
    ) -> bool {
        if run.start != self.next {
            self.carried = 0;
        }
        let mut at = run.start;
        while at < run.end {
            let is_over = self.harvest.bytes >= self.limits.bytes
                || self.harvest.secrets.len() >= self.limits.secrets
                || self.harvest.faults >= MAX_FAULTS;
            if is_over || !go_on() {
                return false;
            }
            let wanted = usize::try_from(run.end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let room = self.carried..self.carried + wanted;
            let count = match self.buffer.get_mut(room).map(|room| read(room, at)) {
                // Whole words, or what follows would be out of step.
                Some(Ok(count)) if count >= 8 => count.min(wanted) & !7,
                _ => {
                    self.harvest.faults += 1;
                    self.carried = 0;
                    at += wanted as u64;
                    continue;
                }
            };
            self.harvest.bytes += count as u64;
            self.piece(at, count);
            at += count as u64;
        }
        self.next = at;
        true
    }

    /// `count` bytes from address `at` on are in the buffer, behind those that were carried over.
    fn piece(&mut self, at: u64, count: usize) {
        let length = self.carried + count;
        let buffer = std::mem::take(&mut self.buffer);
        let start = at - self.carried as u64;
        find_blocks(buffer.get(..length).unwrap_or_default(), start, |block| {
            self.block(block);
        });
        self.buffer = buffer;
        let kept = length.min(OVERLAP);
        self.buffer.copy_within(length - kept..length, 0);
        self.carried = kept;
    }

    /// A block; the same one never comes twice, as what is carried over is shorter than one.
    fn block(&mut self, block: Block) {
        let length = block.secret.len();
        let beside = self
            .last
            .filter(|&(end, of, _)| end == block.address && of == length)
            .map(|(_, _, group)| group);
        let hash = self.hasher.hash_one(block.secret.as_slice());
        let same = self.known.entry(hash).or_default();
        let secrets = &mut self.harvest.secrets;
        let known = (same.iter().filter_map(|&place| secrets.get(place)))
            .find(|found| found.bytes == block.secret)
            .map(|found| found.group);
        // A copy that was left behind where its connection was before belongs to the group of the first.
        let group = known.or(beside).unwrap_or_else(|| {
            self.groups += 1;
            self.groups
        });
        self.last = Some((block.address + BLOCK_BYTES as u64, length, group));
        if known.is_none() && secrets.len() < self.limits.secrets {
            same.push(secrets.len());
            secrets.push(MemorySecret {
                bytes: block.secret,
                group,
            });
        }
    }
}

#[cfg(test)]
mod tests;
