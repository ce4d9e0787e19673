//! Executable file mappings of a process, and opening the files behind them.
//!
//! A path in `/proc/PID/maps` is only a description: the file may be deleted, replaced, or lie in another mount
//! namespace. `/proc/PID/map_files/RANGE` opens what is mapped, whatever became of the path.
//!
//! Devices: `maps` prints the device of the superblock, `stat(2)` what the file system likes to say; on btrfs and
//! overlayfs the two differ for one file. The kernel side reports the superblock's device too. Nothing here assumes
//! that they agree: [`crate::Tracker`] keeps every name of a file that it met.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use qtap_capture::Pid;

use crate::identity::Inode;
use crate::procmap;

/// Bytes of a maps file that are read: about 100,000 mappings.
pub(crate) const MAX_MAPS: u64 = 16 * 1024 * 1024;
/// Executable file mappings kept of one process.
pub(crate) const MAX_MAPPINGS: usize = 4096;

/// A file that a process has mapped executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Offset in the file of the first address.
    pub offset: u64,
    /// Device of the superblock and inode, as `maps` prints them.
    pub inode: Inode,
    /// The path in the process' mount namespace, without ` (deleted)`.
    pub path: PathBuf,
}

/// Parses the text of `/proc/PID/maps`; lines that are not executable file mappings or not understood are left out.
#[must_use]
pub fn parse_maps(text: &[u8]) -> Vec<Mapping> {
    text.split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .take(MAX_MAPPINGS)
        .collect()
}

/// `7f…-7f… r-xp 0001c000 fe:00 123456    /usr/lib/libssl.so.3`.
fn parse_line(line: &[u8]) -> Option<Mapping> {
    let (fields, path) = split_fields(line)?;
    let [range, permissions, offset, device, inode] = fields;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let inode: u64 = inode.parse().ok()?;
    let path = file_path(path)?;
    if inode == 0 {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        inode: Inode {
            device: libc::makedev(
                u32::from_str_radix(major, 16).ok()?,
                u32::from_str_radix(minor, 16).ok()?,
            ),
            inode,
        },
        path: PathBuf::from(OsStr::from_bytes(path)),
    })
}

/// The path of what is a file, without the mark of one that was deleted.
pub(crate) fn file_path(name: &[u8]) -> Option<&[u8]> {
    let path = name.strip_suffix(b" (deleted)").unwrap_or(name);
    (path.first() == Some(&b'/')).then_some(path)
}

/// Splits five fields off; what follows the blanks behind them is the path, blanks included.
pub(crate) fn split_fields(line: &[u8]) -> Option<([&str; 5], &[u8])> {
    let mut fields = [""; 5];
    let mut rest = line;
    for field in &mut fields {
        let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        let (head, tail) = rest.split_at_checked(end)?;
        *field = std::str::from_utf8(head).ok()?;
        rest = tail.trim_ascii_start();
    }
    Some((fields, rest))
}

/// The executable file mappings of `pid`.
///
/// # Errors
/// The process is gone or may not be inspected.
pub fn read_maps(pid: Pid) -> io::Result<Vec<Mapping>> {
    let maps = File::open(format!("/proc/{}/maps", pid.0))?;
    match procmap::executable(&maps) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => {}
        answered => return answered,
    }
    let mut text = Vec::new();
    maps.take(MAX_MAPS).read_to_end(&mut text)?;
    Ok(parse_maps(&text))
}

/// Opens the file behind `mapping` of `pid`.
///
/// # Errors
/// The process is gone, or neither way leads to the file.
pub fn open_mapping(pid: Pid, mapping: &Mapping) -> io::Result<File> {
    let by_range = format!("/proc/{}/map_files/{:x}-{:x}", pid.0, mapping.start, mapping.end);
    match open_regular(Path::new(&by_range)) {
        Ok(file) => Ok(file),
        // Without CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN: the path, if it still leads to the same inode.
        Err(refused) => {
            let relative = mapping.path.strip_prefix("/").unwrap_or(&mapping.path);
            let by_path = Path::new("/proc")
                .join(pid.0.to_string())
                .join("root")
                .join(relative);
            let file = open_regular(&by_path).map_err(|_| refused)?;
            let found = crate::FileIdentity::of(&file)?.inode;
            if found.inode != mapping.inode.inode {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "another file is at the path of the mapping now",
                ));
            }
            Ok(file)
        }
    }
}

/// Whether the process, or what it had mapped, is no longer there. Below `/proc/PID`, looking up a name of a process that has just
/// ended fails with `ESRCH`.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Opens a regular file, and nothing else: opening a device may do something (a watchdog starts), and a FIFO waits for its writer. Whoever owns the
/// container decides where its paths lead.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let place = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    if !place.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // Somebody who holds a lease on it (fcntl(2)) is not waited for.
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn executable_file_mappings_are_parsed_and_others_left_out() {
        let text = b"\
7f1bc8a00000-7f1bc8a26000 r--p 00000000 fe:01 1234    /usr/lib/libssl.so.3
7f1bc8a26000-7f1bc8b7b000 r-xp 00026000 fe:01 1234    /usr/lib/libssl.so.3
7f1bc8c00000-7f1bc8c01000 r-xp 00000000 00:2a 77      /opt/my app/lib x.so (deleted)
7f1bc8d00000-7f1bc8d01000 rwxp 00000000 00:00 0
7ffd2b5e0000-7ffd2b5e2000 r-xp 00000000 00:00 0       [vdso]
";
        let maps = parse_maps(text);
        assert_eq!(maps.len(), 2);
        assert_eq!(
            maps[0].inode,
            Inode {
                device: libc::makedev(0xfe, 1),
                inode: 1234
            }
        );
        assert_eq!((maps[0].start, maps[0].end), (0x7f1b_c8a2_6000, 0x7f1b_c8b7_b000));
        assert_eq!(maps[0].offset, 0x26000);
        assert_eq!(maps[1].path, Path::new("/opt/my app/lib x.so"));
    }

    #[test]
    fn a_deleted_file_is_opened_through_its_mapping() {
        let path = std::env::temp_dir().join(format!("qtap-probe-deleted-{}", std::process::id()));
        std::fs::copy("/bin/sleep", &path).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        let mut child = std::process::Command::new(&path).arg("30").spawn().unwrap();
        let pid = Pid(child.id());
        let mapping = loop {
            let found = read_maps(pid)
                .unwrap()
                .into_iter()
                .find(|mapping| mapping.inode.inode == inode);
            if let Some(mapping) = found {
                break mapping;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        };
        std::fs::remove_file(&path).unwrap();

        let file = open_mapping(pid, &mapping).unwrap();

        assert_eq!(file.metadata().unwrap().ino(), inode);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_ends_while_it_is_looked_at_is_gone() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("30")
            .spawn()
            .unwrap();
        // What a path was resolved to when the process ended.
        let entry = File::open(format!("/proc/{}", child.id())).unwrap();
        let below = |name: &str| {
            let path = Path::new("/proc/self/fd").join(entry.as_raw_fd().to_string());
            File::open(path.join(name))
        };
        let before = below("maps");
        child.kill().unwrap();
        child.wait().unwrap();
        let meanwhile = below("map_files/1000-2000").unwrap_err();
        let later = File::open(format!("/proc/{}/maps", child.id())).unwrap_err();

        assert!(before.is_ok());
        assert_eq!(meanwhile.raw_os_error(), Some(libc::ESRCH));
        assert!(is_gone(&meanwhile));
        assert_eq!(later.raw_os_error(), Some(libc::ENOENT));
        assert!(is_gone(&later));
        assert!(!is_gone(&io::Error::from_raw_os_error(libc::EACCES)));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        for path in ["/dev/null", "/dev", "/proc/self/fd/0"] {
            let refused = open_regular(Path::new(path))
                .map(|_| ())
                .map_err(|error| error.kind());
            assert_eq!(refused, Err(io::ErrorKind::InvalidInput), "{path}");
        }
        assert!(open_regular(Path::new("/bin/sh")).is_ok());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
        #[test]
        fn any_text_is_survived(text: Vec<u8>) {
            let _: Vec<Mapping> = parse_maps(&text);
        }
    }
}
