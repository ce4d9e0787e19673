//! Executable mappings as perf events tell them.
//!
//! The kernel tells every mapping of a file that becomes executable (`perf_event_attr.mmap`), by whatever call and loader, in one ring a
//! processor. Programs that map nothing executable do not pay for it.

use std::collections::HashSet;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libbpf_rs::libbpf_sys::{
    self, PERF_COUNT_SW_DUMMY, PERF_SAMPLE_TIME, PERF_TYPE_SOFTWARE, perf_event_attr, perf_event_mmap_page,
};

use crate::event::ExecutableMapped;
use crate::host::{KernelVersion, shows_transfers};
use crate::shared::{SharedMemory, page_size};
use crate::{KernelTime, Pid};

/// Pages of a ring: a record has some 100 bytes and the path, and a program some ten of them.
const PAGES: usize = 16;

/// Files remembered as known. At the limit all are forgotten, told again, and learnt again.
const MOST_KNOWN: usize = 16 * 1024;

/// Between two looks at which processors are on.
const LOOK: Duration = Duration::from_secs(10);

/// `linux/perf_event.h`: kinds of records, and the bits of `misc` that say on whose side it happened.
const RECORD_LOST: u32 = 2;
const RECORD_MMAP2: u32 = 10;
const CPU_MODE: u16 = 7;
const CPU_MODE_USER: u16 = 2;

/// Offsets in a record of kind [`RECORD_MMAP2`]; the path follows, then the time of the event as the last 8 bytes.
mod field {
    pub(super) const PID: usize = 8;
    pub(super) const ADDRESS: usize = 16;
    pub(super) const MAJOR: usize = 40;
    pub(super) const MINOR: usize = 44;
    pub(super) const INODE: usize = 48;
    pub(super) const PATH: usize = 72;
    /// Of a record of kind [`super::RECORD_LOST`].
    pub(super) const LOST: usize = 16;
}

/// What both who reads and who steers know.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Device (`st_dev`) and inode of files whose mappings are not told.
    known: Mutex<HashSet<(u64, u64)>>,
    lost: AtomicU64,
}

impl Shared {
    pub(crate) fn mark_known(&self, device: u64, inode: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert((device, inode));
    }

    pub(crate) fn forget_known(&self, device: u64, inode: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&(device, inode));
    }

    /// Mappings of which nobody was told, for want of room or of a ring.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lose(&self, mappings: u64) {
        self.lost.fetch_add(mappings, Ordering::Relaxed);
    }
}

/// Told by the kernel of executable mappings, for [`crate::Capture::load_with`].
///
/// Apart, because kernels of Debian and Ubuntu may ask for `CAP_SYS_ADMIN` here where all that comes later does without
/// (`kernel.perf_event_paranoid` above 2): open it, then drop what is not needed.
#[derive(Debug)]
pub struct MappingEvents(pub(crate) io::Result<Mappings>);

impl MappingEvents {
    /// Begins to collect, on kernels where they are of use. What the kernel refuses shows in [`crate::Capture::sees_transfers`].
    #[must_use]
    pub fn open() -> Self {
        if shows_transfers(KernelVersion::running()) {
            Self(Mappings::open())
        } else {
            Self(Err(io::Error::from(io::ErrorKind::Unsupported)))
        }
    }
}

/// The rings of all processors.
#[derive(Debug)]
pub(crate) struct Mappings {
    rings: Vec<Ring>,
    shared: Arc<Shared>,
    /// Whose mappings are not told.
    pub(crate) own_pid: Option<Pid>,
    looked: Instant,
    record: Vec<u8>,
}

impl Mappings {
    /// Watches all processors that are on.
    ///
    /// # Errors
    /// When the kernel refuses one.
    fn open() -> io::Result<Self> {
        let rings = processors()?.into_iter().map(Ring::open);
        Ok(Self {
            rings: rings.collect::<io::Result<_>>()?,
            shared: Arc::default(),
            own_pid: None,
            looked: Instant::now(),
            record: Vec::new(),
        })
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// What to wait for.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|ring| ring.event.as_fd())
    }

    /// Whether there is something to read.
    pub(crate) fn is_waiting(&self) -> bool {
        self.rings.iter().any(|ring| ring.head() != ring.tail)
    }

    /// All there is of files that are not known, in the order of time: no more than the rings have room for.
    pub(crate) fn take(&mut self) -> Vec<ExecutableMapped> {
        let mut taken = Vec::new();
        let Self {
            rings,
            shared,
            own_pid,
            record,
            ..
        } = self;
        for ring in rings {
            while ring.next(record) {
                match parse(record) {
                    Some(Record::Mapped(event)) if Some(event.pid) != *own_pid => {
                        let known = shared.known.lock().unwrap_or_else(PoisonError::into_inner);
                        let is_known = known.contains(&(event.device, event.inode));
                        drop(known);
                        if !is_known {
                            taken.push(event);
                        }
                    }
                    Some(Record::Lost(mappings)) => shared.lose(mappings),
                    Some(Record::Mapped(_)) | None => {}
                }
            }
        }
        taken.sort_by_key(|event| event.time);
        taken
    }

    /// Looks from time to time which processors are on. Returns the rings that are new, to be waited for; what was mapped on their
    /// processors meanwhile is counted as lost, once for each.
    pub(crate) fn look(&mut self, now: Instant) -> &[Ring] {
        if now.duration_since(self.looked) < LOOK {
            return &[];
        }
        self.looked = now;
        let processors = match processors() {
            Ok(processors) => processors,
            Err(error) => {
                tracing::warn!(%error, "cannot tell which processors are on");
                return &[];
            }
        };
        self.rings.retain(|ring| processors.contains(&ring.processor));
        let former = self.rings.len();
        for processor in processors {
            if self.rings.iter().any(|ring| ring.processor == processor) {
                continue;
            }
            self.shared.lose(1);
            match Ring::open(processor) {
                Ok(ring) => self.rings.push(ring),
                Err(error) => {
                    tracing::warn!(processor, %error, "mappings on a new processor are not seen");
                }
            }
        }
        self.rings.get(former..).unwrap_or_default()
    }
}

/// The ring of one processor.
#[derive(Debug)]
pub(crate) struct Ring {
    event: OwnedFd,
    memory: SharedMemory,
    processor: u32,
    /// Bytes read since it was opened.
    tail: u64,
}

impl Ring {
    fn open(processor: u32) -> io::Result<Self> {
        let mut attributes = perf_event_attr {
            type_: PERF_TYPE_SOFTWARE,
            size: size_of::<perf_event_attr>() as u32,
            config: u64::from(PERF_COUNT_SW_DUMMY),
            sample_type: u64::from(PERF_SAMPLE_TIME),
            clockid: libc::CLOCK_MONOTONIC,
            ..perf_event_attr::default()
        };
        attributes.set_mmap(1);
        attributes.set_mmap2(1);
        attributes.set_sample_id_all(1);
        attributes.set_use_clockid(1);
        attributes.set_watermark(1);
        // Wake whoever sleeps for every record; while it is awake nobody waits for this.
        attributes.__bindgen_anon_2.wakeup_watermark = 1;
        // SAFETY: the kernel reads `size` bytes of the attributes and returns a descriptor, which is ours.
        let event = unsafe {
            let fd = libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                -1,
                processor,
                -1,
                libbpf_sys::PERF_FLAG_FD_CLOEXEC,
            );
            match i32::try_from(fd) {
                Ok(fd) if fd >= 0 => OwnedFd::from_raw_fd(fd),
                _ => return Err(io::Error::last_os_error()),
            }
        };
        let memory = SharedMemory::map(&event, 0, (1 + PAGES) * page_size(), true)?;
        Ok(Self {
            event,
            memory,
            processor,
            tail: 0,
        })
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.event.as_raw_fd()
    }

    fn head(&self) -> u64 {
        self.position(offset_of!(perf_event_mmap_page, data_head))
            .map_or(self.tail, |head| head.load(Ordering::Acquire))
    }

    fn position(&self, offset: usize) -> Option<&AtomicU64> {
        // SAFETY: inside the mapping, which lives as long as the borrow of self; the kernel reads and writes whole words.
        self.memory.at(offset).map(|at| unsafe { at.as_ref() })
    }

    /// Takes the next record into `to`; false if there is none.
    fn next(&mut self, to: &mut Vec<u8>) -> bool {
        let head = self.head();
        if head == self.tail {
            return false;
        }
        to.clear();
        self.copy(self.tail, 8, to);
        let size = number::<2>(to, 6).map_or(0, u16::from_le_bytes);
        if u64::from(size) > head - self.tail || size < 8 {
            // Not a ring that we understand: nothing in it can be trusted.
            self.pass(head);
            return false;
        }
        self.copy(self.tail + 8, usize::from(size) - 8, to);
        self.pass(self.tail + u64::from(size));
        true
    }

    /// Appends `length` bytes of the ring from position `from`.
    fn copy(&self, from: u64, length: usize, to: &mut Vec<u8>) {
        let ring = PAGES * page_size();
        let start = (from % ring as u64) as usize;
        let first = length.min(ring - start);
        for (offset, length) in [(start, first), (0, length - first)] {
            // SAFETY: the kernel does not write what lies between tail and head, and only that is asked for.
            let part = unsafe { self.memory.bytes(page_size() + offset, length) };
            to.extend_from_slice(part.unwrap_or_default());
        }
    }

    fn pass(&mut self, tail: u64) {
        self.tail = tail;
        if let Some(position) = self.position(offset_of!(perf_event_mmap_page, data_tail)) {
            position.store(tail, Ordering::Release);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Record {
    Mapped(ExecutableMapped),
    Lost(u64),
}

/// What a record says; `None` of what is of no interest: mappings without a file, and other records.
fn parse(record: &[u8]) -> Option<Record> {
    let kind = u32::from_ne_bytes(number(record, 0)?);
    if kind == RECORD_LOST {
        return Some(Record::Lost(u64::from_ne_bytes(number(record, field::LOST)?)));
    }
    let mode = u16::from_ne_bytes(number(record, 4)?) & CPU_MODE;
    if kind != RECORD_MMAP2 || mode != CPU_MODE_USER || record.len() < field::PATH + 8 {
        return None;
    }
    let inode = u64::from_ne_bytes(number(record, field::INODE)?);
    if inode == 0 {
        return None;
    }
    let word = |offset| Some(u32::from_ne_bytes(number(record, offset)?));
    Some(Record::Mapped(ExecutableMapped {
        pid: Pid(word(field::PID)?),
        time: KernelTime(u64::from_ne_bytes(number(record, record.len() - 8)?)),
        device: libc::makedev(word(field::MAJOR)?, word(field::MINOR)?),
        inode,
        address: u64::from_ne_bytes(number(record, field::ADDRESS)?),
    }))
}

fn number<const N: usize>(record: &[u8], offset: usize) -> Option<[u8; N]> {
    record.get(offset..offset + N)?.try_into().ok()
}

/// Those that are on.
fn processors() -> io::Result<Vec<u32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    parse_list(text.trim())
        .ok_or_else(|| io::Error::other(format!("not a list of processors: {:?}", text.trim())))
}

/// `0-3,8`.
fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(inode: u64, mode: u16) -> Vec<u8> {
        let mut record = vec![0_u8; field::PATH];
        record[..4].copy_from_slice(&RECORD_MMAP2.to_ne_bytes());
        record[4..6].copy_from_slice(&mode.to_ne_bytes());
        record[field::PID..][..4].copy_from_slice(&7_u32.to_ne_bytes());
        record[field::ADDRESS..][..8].copy_from_slice(&0x7f00_0000_u64.to_ne_bytes());
        record[field::MAJOR..][..4].copy_from_slice(&254_u32.to_ne_bytes());
        record[field::MINOR..][..4].copy_from_slice(&1_u32.to_ne_bytes());
        record[field::INODE..][..8].copy_from_slice(&inode.to_ne_bytes());
        record.extend_from_slice(b"/usr/lib/libssl.so.3\0\0\0\0");
        record.extend_from_slice(&99_u64.to_ne_bytes());
        record
    }

    #[test]
    fn a_mapping_is_told_with_its_file_and_time() {
        let expected = ExecutableMapped {
            pid: Pid(7),
            time: KernelTime(99),
            device: libc::makedev(254, 1),
            inode: 5,
            address: 0x7f00_0000,
        };
        assert_eq!(parse(&record(5, CPU_MODE_USER)), Some(Record::Mapped(expected)));
    }

    #[test]
    fn what_is_no_file_of_a_program_is_not_told() {
        assert_eq!(parse(&record(0, CPU_MODE_USER)), None);
        assert_eq!(parse(&record(5, 1)), None);
        assert_eq!(parse(&record(5, CPU_MODE_USER)[..field::PATH]), None);
    }

    #[test]
    fn records_without_room_are_counted() {
        let mut lost = vec![0_u8; 24];
        lost[..4].copy_from_slice(&RECORD_LOST.to_ne_bytes());
        lost[field::LOST..].copy_from_slice(&3_u64.to_ne_bytes());
        assert_eq!(parse(&lost), Some(Record::Lost(3)));
    }

    #[test]
    fn known_files_are_bounded_and_can_be_forgotten() {
        let shared = Shared::default();
        for inode in 0..MOST_KNOWN as u64 + 1 {
            shared.mark_known(1, inode);
        }
        let has = |inode| shared.known.lock().unwrap().contains(&(1, inode));
        assert!(has(MOST_KNOWN as u64) && !has(0));
        shared.forget_known(1, MOST_KNOWN as u64);
        assert!(!has(MOST_KNOWN as u64));
    }

    #[test]
    fn lists_of_processors_parse() {
        assert_eq!(parse_list("0-3,8").unwrap(), [0, 1, 2, 3, 8]);
        assert_eq!(parse_list("0").unwrap(), [0]);
        assert_eq!(parse_list(""), None);
    }
}
