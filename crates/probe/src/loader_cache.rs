//! The dynamic loader's cache: which TLS libraries programs will map, before they do.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::maps::open_regular;

/// Where glibc keeps its cache.
const CACHE: &str = "/etc/ld.so.cache";
/// Largest cache read; a full desktop's has some 200 KiB.
const MAX_CACHE: u64 = 4 * 1024 * 1024;
/// Directories looked into besides, for libraries installed since `ldconfig` ran and for musl, which has no cache.
const DIRECTORIES: [&str; 8] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];
/// Directory entries looked at altogether.
const MAX_ENTRIES: usize = 100_000;

/// Libraries that [`crate::classify`] finds points in, those that are used most first.
const OF_INTEREST: [&[u8]; 11] = [
    b"libssl.so",
    b"libgnutls.so",
    b"libcrypto.so",
    b"libnettle.so",
    b"libhogweed.so",
    b"libwolfssl.so",
    b"libmbedtls.so",
    b"libmbedcrypto.so",
    b"libssl3.so",
    b"libnss3.so",
    b"libfreeblpriv3.so",
];

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Paths collected, of the cache and of each directory: a cache may be made up, and list any number.
const MAX_FOUND: usize = 256;
/// Libraries told of another root.
const MAX_LIBRARIES: usize = 32;

/// Paths of the TLS libraries that the dynamic loader would find, each real file once, sorted.
///
/// # Errors
/// The cache exists but cannot be read; a missing one is no error (musl), a malformed one leaves the directories.
pub fn tls_libraries() -> io::Result<Vec<PathBuf>> {
    let found = find(Path::new("/"))?;
    let real: BTreeSet<PathBuf> = found.iter().filter_map(|path| path.canonicalize().ok()).collect();
    Ok(real.into_iter().collect())
}

/// The same of another root, which need not be well-meaning: at most 32, those first that are likely to be used, with links not followed. Several paths may lead to
/// one file, and to none.
///
/// # Errors
/// As above.
pub(crate) fn tls_libraries_of(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = find(root)?.into_iter().collect();
    found.sort_by_key(|path| path.file_name().and_then(|name| rank(name.as_bytes())));
    found.truncate(MAX_LIBRARIES);
    Ok(found)
}

/// Those in the cache of `root`, and in its directories.
fn find(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let mut found = BTreeSet::new();
    match open_regular(&below(Path::new(CACHE))) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(MAX_CACHE).read_to_end(&mut bytes)?;
            found.extend(parse_cache(&bytes).iter().map(|path| below(path)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut left = MAX_ENTRIES;
    for directory in DIRECTORIES {
        let Ok(entries) = std::fs::read_dir(below(Path::new(directory))) else {
            continue;
        };
        let of_interest = (entries.take(left).flatten())
            .inspect(|_| left = left.saturating_sub(1))
            .filter(|entry| is_of_interest(entry.file_name().as_bytes()));
        found.extend(of_interest.take(MAX_FOUND).map(|entry| entry.path()));
    }
    Ok(found)
}

/// Paths of the libraries of interest in a `glibc-ld.so.cache1.1`, alone or behind the cache of glibc before 2.32;
/// nothing if it is malformed.
#[must_use]
pub fn parse_cache(bytes: &[u8]) -> Vec<PathBuf> {
    entries(bytes).unwrap_or_default()
}

fn entries(bytes: &[u8]) -> Option<Vec<PathBuf>> {
    let cache = bytes.get(new_format_start(bytes)?..)?;
    let count = usize::try_from(u32_at(cache, MAGIC.len())?).ok()?;
    let table = cache.get(HEADER..HEADER.checked_add(count.checked_mul(ENTRY)?)?)?;
    // Offsets of names and paths count from the start of this header.
    let text = |offset: u32| {
        let tail = cache.get(usize::try_from(offset).ok()?..)?;
        tail.get(..memchr::memchr(0, tail.get(..4096).unwrap_or(tail))?)
    };
    let paths = table.chunks_exact(ENTRY).filter_map(|entry| {
        let name = text(u32_at(entry, 4)?)?;
        let path = text(u32_at(entry, 8)?)?;
        (is_of_interest(name) && path.first() == Some(&b'/')).then(|| PathBuf::from(OsStr::from_bytes(path)))
    });
    Some(paths.take(MAX_FOUND).collect())
}

/// The old format, if it is there, is a header of 16 bytes and entries of 12; the new one follows, 8-aligned.
fn new_format_start(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(MAGIC) {
        return Some(0);
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return None;
    }
    let count = usize::try_from(u32_at(bytes, OLD_MAGIC.len())?).ok()?;
    let start = 16usize
        .checked_add(count.checked_mul(12)?)?
        .checked_next_multiple_of(8)?;
    bytes.get(start..)?.starts_with(MAGIC).then_some(start)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

/// A shared object of interest, not a directory of that name, an archive or a debug file.
/// Whether a file of this name is likely to have TLS code.
pub(crate) fn is_of_interest(name: &[u8]) -> bool {
    rank(name).is_some()
}

/// Which library a file of this name is, by its place in the list above.
fn rank(name: &[u8]) -> Option<usize> {
    OF_INTEREST.iter().position(|prefix| {
        let version = name.strip_prefix(*prefix);
        version.is_some_and(|version| version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
    })
}

/// The modification time of the cache, to notice that `ldconfig` ran.
pub(crate) fn modified() -> Option<std::time::SystemTime> {
    Path::new(CACHE).metadata().ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(libraries: &[(&str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table = Vec::new();
        let base = HEADER + libraries.len() * ENTRY;
        for (name, path) in libraries {
            table.extend_from_slice(&3u32.to_ne_bytes());
            for text in [name, path] {
                table.extend_from_slice(&u32::try_from(base + strings.len()).unwrap().to_ne_bytes());
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
            }
            table.extend_from_slice(&[0; 12]);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&u32::try_from(libraries.len()).unwrap().to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(table);
        bytes.extend(strings);
        bytes
    }

    const LIBRARIES: [(&str, &str); 3] = [
        ("libssl.so.3", "/lib/libssl.so.3"),
        ("libz.so.1", "/lib/libz.so.1"),
        ("libgnutls.so.30", "/opt/libgnutls.so.30"),
    ];

    #[test]
    fn libraries_of_interest_are_taken_from_the_cache() {
        let expected = [
            PathBuf::from("/lib/libssl.so.3"),
            PathBuf::from("/opt/libgnutls.so.30"),
        ];
        assert_eq!(parse_cache(&cache(&LIBRARIES)), expected);
    }

    #[test]
    fn a_cache_that_lists_any_number_of_libraries_does_not_fill_the_memory() {
        let many = vec![("libssl.so.3", "/lib/libssl.so.3"); 10 * MAX_FOUND];
        assert_eq!(parse_cache(&cache(&many)).len(), MAX_FOUND);
    }

    #[test]
    fn what_is_told_of_another_root_is_bounded_and_likely_ones_come_first() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib");
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..2 * MAX_LIBRARIES {
            std::fs::write(folder.join(format!("libnettle.so.{number}")), "").unwrap();
        }
        std::fs::write(folder.join("libssl.so.3"), "").unwrap();
        std::fs::write(folder.join("libz.so.1"), "").unwrap();

        let told = tls_libraries_of(root.path()).unwrap();

        assert_eq!(told.len(), MAX_LIBRARIES);
        assert_eq!(told.first(), Some(&folder.join("libssl.so.3")));
        assert!(!told.contains(&folder.join("libz.so.1")));
    }

    #[test]
    fn the_new_format_is_found_behind_the_old_one() {
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend_from_slice(&3u32.to_ne_bytes());
        bytes.resize(16 + 3 * 12 + 4, 0);
        bytes.extend(cache(&LIBRARIES));
        assert_eq!(parse_cache(&bytes).len(), 2);
    }

    #[test]
    fn this_machines_loader_has_openssl_and_gnutls() {
        let names: Vec<String> = (tls_libraries().unwrap().iter())
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        for wanted in ["libssl.so.3", "libcrypto.so.3", "libgnutls.so.30"] {
            assert!(
                names.iter().any(|name| name.starts_with(wanted)),
                "{wanted} not in {names:?}"
            );
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
        #[test]
        fn damaged_caches_are_survived(at in 0usize..200, byte: u8, length in 0usize..400) {
            let mut bytes = cache(&LIBRARIES);
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
            bytes.truncate(length);
            let _: Vec<PathBuf> = parse_cache(&bytes);
        }
    }
}
