//! Where the kernel is asked to ask.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, read};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

/// Where this process' mounts are listed; poll(2) tells when the list changes.
const MOUNTS: &str = "/proc/self/mountinfo";
/// File systems of this host's own disks and memory. A question about a file of another host could wait for that.
const LOCAL: &[&str] = &[
    "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "squashfs",
    "tmpfs", "vfat", "xfs", "zfs",
];
/// Files that are not asked about any more; each keeps an inode in the kernel's memory before 5.19. At the limit all are asked about again.
const MAX_SETTLED: usize = 8192;

/// A fanotify group that is asked before each execution on a local file system.
#[derive(Debug)]
pub(super) struct Marks {
    group: Fanotify,
    mounts: File,
    /// Devices (`major:minor`) that are marked.
    marked: BTreeSet<String>,
    settled: usize,
}

impl Marks {
    /// A group without marks.
    pub(super) fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_CONTENT
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE
            | InitFlags::FAN_UNLIMITED_MARKS;
        let events = EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC;
        Ok(Self {
            group: Fanotify::init(flags, events)?,
            mounts: File::open(MOUNTS)?,
            marked: BTreeSet::new(),
            settled: 0,
        })
    }

    pub(super) fn group(&self) -> &Fanotify {
        &self.group
    }

    pub(super) fn mounts(&self) -> BorrowedFd<'_> {
        self.mounts.as_fd()
    }

    /// Marks the local file systems that are not marked yet. Returns how many are marked now.
    pub(super) fn look_at_mounts(&mut self) -> io::Result<usize> {
        let mounts = local_mounts(&read(MOUNTS)?);
        self.marked
            .retain(|device| mounts.iter().any(|(mounted, _)| mounted == device));
        for (device, point) in mounts {
            if self.marked.contains(&device) {
                continue;
            }
            let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
            match self.mark(flags, &point) {
                Ok(()) => {
                    self.marked.insert(device);
                }
                // One that is hidden below another mount, or unmounted by now.
                Err(error) => {
                    tracing::debug!(mount = %point.display(), %error, "programs of this file system are not held")
                }
            }
        }
        Ok(self.marked.len())
    }

    /// Has the kernel not ask about an open file any more until it is written to.
    pub(super) fn settle(&mut self, file: BorrowedFd<'_>) {
        if self.settled >= MAX_SETTLED {
            // Those of inodes; the file systems' stay.
            match self.group.mark(
                MarkFlags::FAN_MARK_FLUSH,
                MaskFlags::empty(),
                rustix::fs::CWD,
                None::<&Path>,
            ) {
                Ok(()) => self.settled = 0,
                Err(error) => {
                    tracing::debug!(%error, "marks are not removed");
                    return;
                }
            }
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let ignore = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_IGNORED_MASK;
        let marked = match self.mark(ignore | MarkFlags::FAN_MARK_EVICTABLE, &path) {
            // Before 5.19.
            Err(Errno::EINVAL) => self.mark(ignore, &path),
            marked => marked,
        };
        match marked {
            Ok(()) => self.settled += 1,
            Err(error) => tracing::debug!(%error, "file is asked about again"),
        }
    }

    fn mark(&self, flags: MarkFlags, path: &Path) -> Result<(), Errno> {
        self.group
            .mark(flags, MaskFlags::FAN_OPEN_EXEC_PERM, rustix::fs::CWD, Some(path))
    }
}

/// Device and mount point of each local file system, each device once.
fn local_mounts(mountinfo: &[u8]) -> Vec<(String, PathBuf)> {
    let mut seen = BTreeSet::new();
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(local_mount)
        .filter(|(device, _)| seen.insert(device.clone()))
        .collect()
}

/// `36 35 98:0 / /mnt rw,noatime shared:1 - ext3 /dev/root rw` (proc(5)).
fn local_mount(line: &[u8]) -> Option<(String, PathBuf)> {
    let mut words = line.split(|byte| *byte == b' ');
    let device = words.nth(2)?;
    let point = words.nth(1)?;
    let kind = words.skip_while(|word| *word != b"-").nth(1)?;
    let is_local = LOCAL.iter().any(|local| local.as_bytes() == kind);
    is_local.then(|| {
        let device = String::from_utf8_lossy(device).into_owned();
        (device, PathBuf::from(OsString::from_vec(unescape(point))))
    })
}

/// Space, tab, newline and backslash are written `\040` and so on.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] if *first == b'\\' => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                behind
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_file_systems_are_found_each_once() {
        let text = b"\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
22 21 0:5 / /proc rw,nosuid master:3 - proc proc rw\n\
30 21 254:0 /srv /mnt/again rw shared:1 - ext4 /dev/vda rw\n\
31 21 0:44 / /mnt/of\\040another nfs rw shared:9 - nfs4 host:/x rw\n\
32 21 0:45 / /run/a\\040b\\134c rw shared:9 master:2 - tmpfs none rw\n\
malformed\n";
        let expected = [
            ("254:0".to_owned(), PathBuf::from("/")),
            ("0:45".to_owned(), PathBuf::from("/run/a b\\c")),
        ];
        assert_eq!(local_mounts(text), expected);
    }
}
