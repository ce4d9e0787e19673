//! Mappings of a process by ioctl(2), without a text to print and to parse (`PROCMAP_QUERY`, Linux 6.11, `linux/fs.h`).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::identity::Inode;
use crate::maps::{MAX_MAPPINGS, Mapping, file_path};

/// `_IOWR('f', 17, struct procmap_query)`.
const PROCMAP_QUERY: libc::Ioctl = 0xc068_6611_u32 as libc::Ioctl;

const EXECUTABLE: u64 = 0x04;
const COVERING_OR_NEXT: u64 = 0x10;
const FILE_BACKED: u64 = 0x20;

/// `struct procmap_query`.
#[derive(Default)]
#[repr(C)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    vma_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    major: u32,
    minor: u32,
    name_size: u32,
    build_id_size: u32,
    name: u64,
    build_id: u64,
}

const _: () = assert!(size_of::<Query>() == 104, "the ioctl's number has the size in it");

/// The executable file mappings of the process whose `maps` this is.
///
/// # Errors
/// `ENOTTY` where the kernel does not know the question.
pub(crate) fn executable(maps: &File) -> io::Result<Vec<Mapping>> {
    let mut found = Vec::new();
    let mut name = [0_u8; libc::PATH_MAX as usize];
    let mut address = 0;
    while found.len() < MAX_MAPPINGS {
        let mut query = Query {
            size: size_of::<Query>() as u64,
            flags: EXECUTABLE | COVERING_OR_NEXT | FILE_BACKED,
            address,
            name_size: name.len() as u32,
            name: name.as_mut_ptr() as u64,
            ..Query::default()
        };
        // SAFETY: the kernel reads and writes `size` bytes at `query` and at most `name_size` at `name`; both outlive the call.
        if unsafe { libc::ioctl(maps.as_raw_fd(), PROCMAP_QUERY, &raw mut query) } != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(found),
                _ => Err(error),
            };
        }
        address = query.end;
        let length = (query.name_size as usize).saturating_sub(1);
        let Some(path) = file_path(name.get(..length).unwrap_or_default()) else {
            continue;
        };
        if query.inode == 0 {
            continue;
        }
        found.push(Mapping {
            start: query.start,
            end: query.end,
            offset: query.offset,
            inode: Inode {
                device: libc::makedev(query.major, query.minor),
                inode: query.inode,
            },
            path: PathBuf::from(OsStr::from_bytes(path)),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::parse_maps;

    #[test]
    fn it_says_what_the_text_says() {
        let maps = File::open("/proc/self/maps").unwrap();
        match executable(&maps) {
            Ok(found) => assert_eq!(found, parse_maps(&std::fs::read("/proc/self/maps").unwrap())),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOTTY)),
        }
    }
}
