//! What scans found, kept on disk: a browser of 300 MB is scanned once, not at each start of the agent.
//!
//! Whose probes are put where is decided by this file, so it is believed only if it belongs to this user, nobody else may write to it, and its checksum is right;
//! else it is as if it were empty, and is written anew. It also is if another build of the agent wrote it, which may look for other things.
//!
//! A build id is what a file says of itself, and another file may say the same (a copy that `strip` made does). So what is known of a
//! build id is believed only of the very file that was scanned: same device, inode, size, times of modification and of change. The last
//! cannot be set by whoever owns the file. Files on file systems without a device of their own (overlay, tmpfs, btrfs, FUSE) are left
//! out, as the kernel numbers these anew at each mount.
//!
//! Form: one line `qtap-scans 1 CHECKSUM LENGTH`, then as many bytes of JSON. Written in place by one agent at a time, a minute at most after the last scan.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::classify::Classification;
use crate::elf::Elf;
use crate::identity::{BuildId, FileIdentity};

/// Name of the file in its folder.
const NAME: &str = "scans";
const MAGIC: &str = "qtap-scans 1";
/// Files smaller than this are scanned faster than they are worth remembering.
const LEAST_SIZE: u64 = 1 << 20;
/// Files remembered; the least recently used goes first.
const MAX_FILES: usize = 2048;
/// Bytes read and written at most.
const MAX_BYTES: u64 = 8 << 20;

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system refused.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could say where probes go.
    #[error("{path} is a link, not this user's own, or writable by others; remove it or name another folder")]
    NotOwn {
        /// The folder or file.
        path: PathBuf,
    },
}

/// The very file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    identity: FileIdentity,
    changed_ns: i128,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    build_id: Option<BuildId>,
    /// `None`: nothing of TLS is in it.
    found: Option<Classification>,
    /// Grows with each use.
    used: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// The build of the agent.
    agent: String,
    uses: u64,
    files: Vec<(Key, Known)>,
}

/// What scans found.
#[derive(Debug, Default)]
pub struct ScanCache {
    /// `None`: it is only in memory.
    file: Option<File>,
    agent: String,
    uses: u64,
    files: HashMap<Key, Known>,
    is_changed: bool,
}

impl ScanCache {
    /// Opens the cache in `folder`, which is made with mode 0700 if it is not there, and reads what is in it. The file stays open and is written
    /// to through that descriptor.
    ///
    /// # Errors
    /// [`CacheError`]; what is in the file is no reason.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Open { path, source }
        };
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(folder)(error)),
            _ => {}
        }
        let found = std::fs::symlink_metadata(folder).map_err(at(folder))?;
        if !found.is_dir() || !is_own(&found) {
            return Err(CacheError::NotOwn {
                path: folder.to_owned(),
            });
        }
        let path = folder.join(NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&path)
            .map_err(at(&path))?;
        let found = file.metadata().map_err(at(&path))?;
        if !found.is_file() || !is_own(&found) || found.nlink() != 1 {
            return Err(CacheError::NotOwn { path });
        }
        let mut cache = Self {
            agent: own_build(),
            ..Self::default()
        };
        cache.read(&file);
        // Another agent writes it, and may be at it now; what was read of that is whole, or is not believed.
        if file.try_lock().is_ok() {
            cache.file = Some(file);
        }
        Ok(cache)
    }

    /// Files that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn read(&mut self, file: &File) {
        let mut bytes = Vec::new();
        if let Err(error) = file.take(MAX_BYTES).read_to_end(&mut bytes) {
            tracing::warn!(%error, "what former scans found cannot be read: files are scanned again");
            return;
        }
        if bytes.is_empty() {
            return;
        }
        match decode(&bytes) {
            Ok(content) if content.agent == self.agent => {
                self.uses = content.uses;
                self.files = content.files.into_iter().take(MAX_FILES).collect();
            }
            Ok(_) => tracing::debug!(
                "another build of the agent wrote what former scans found: files are scanned again"
            ),
            Err(reason) => tracing::warn!(
                reason,
                "what former scans found is damaged: files are scanned again"
            ),
        }
    }

    /// What is known of an open file: `Some(None)` if nothing of TLS is in it.
    pub(crate) fn get(&mut self, file: &File) -> Option<Option<Classification>> {
        let key = Key::of(file)?;
        let known = self.files.get_mut(&key)?;
        // The file is the same; that what it says of itself is so too costs a few KiB, and a device that was given another number shows.
        let build_id = Elf::parse(file, key.identity.size)
            .ok()
            .and_then(|elf| elf.build_id);
        if build_id != known.build_id {
            return None;
        }
        self.uses += 1;
        known.used = self.uses;
        Some(known.found.clone())
    }

    /// Remembers what a scan of an open file found.
    pub(crate) fn put(&mut self, file: &File, found: Option<Classification>) {
        let Some(key) = Key::of(file).filter(|key| !key.identity.is_young()) else {
            return;
        };
        let build_id = match &found {
            Some(found) => found.build_id.clone(),
            None => Elf::parse(file, key.identity.size)
                .ok()
                .and_then(|elf| elf.build_id),
        };
        if self.files.len() >= MAX_FILES {
            let oldest = self.files.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.files.remove(&oldest);
            }
        }
        self.uses += 1;
        let used = self.uses;
        self.files.insert(
            key,
            Known {
                build_id,
                found,
                used,
            },
        );
        self.is_changed = true;
    }

    /// Writes what was learnt since the last time.
    ///
    /// # Errors
    /// What the system says; the file is then damaged, which the next one to read it notices.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| self.is_changed) else {
            return Ok(());
        };
        self.is_changed = false;
        let content = Content {
            agent: self.agent.clone(),
            uses: self.uses,
            files: self
                .files
                .iter()
                .map(|(key, known)| (*key, known.clone()))
                .collect(),
        };
        let bytes = encode(&content)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::other("it is too large"));
        }
        file.write_all_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)
    }
}

impl Key {
    /// `None` for files that are not remembered.
    fn of(file: &File) -> Option<Self> {
        let identity = FileIdentity::of(file).ok()?;
        let found = file.metadata().ok()?;
        // Anonymous devices have the major number 0.
        let is_lasting = libc::major(found.dev()) != 0;
        (is_lasting && identity.size >= LEAST_SIZE).then(|| Self {
            identity,
            changed_ns: i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec()),
        })
    }
}

fn is_own(found: &std::fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

/// Tells builds of the agent apart: by the build id of this program, or by its size and time.
fn own_build() -> String {
    let build = || {
        let file = File::open("/proc/self/exe").ok()?;
        let identity = FileIdentity::of(&file).ok()?;
        let build_id = Elf::parse(&file, identity.size).ok()?.build_id;
        Some(build_id.map_or_else(
            || format!("{} {}", identity.size, identity.mtime_ns),
            |build_id| build_id.to_string(),
        ))
    };
    build().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

fn encode(content: &Content) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(content)?;
    let mut bytes = format!("{MAGIC} {:08x} {}\n", crc32fast::hash(&body), body.len()).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Content, &'static str> {
    let head_length = memchr::memchr(b'\n', bytes).ok_or("it has no head")?;
    let (head, body) = bytes.split_at(head_length);
    let body = body.get(1..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| "its head is no text")?;
    let rest = head.strip_prefix(MAGIC).ok_or("its form is another")?;
    let mut words = rest.split_whitespace();
    let checksum = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
    let length = words.next().and_then(|word| word.parse().ok());
    // Behind that may be what is left of a longer one.
    let body = length
        .and_then(|length: usize| body.get(..length))
        .ok_or("it is cut off")?;
    if checksum != Some(crc32fast::hash(body)) {
        return Err("its checksum is wrong");
    }
    serde_json::from_slice(body).map_err(|_| "it is not what it should be")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::classify::classify;

    /// A file whose change was long ago, with TLS code in it.
    fn library() -> File {
        let libraries = crate::tls_libraries().unwrap();
        let is_libcrypto = |path: &&PathBuf| path.to_string_lossy().contains("libcrypto.so.3");
        File::open(libraries.iter().find(is_libcrypto).unwrap()).unwrap()
    }

    fn filled(folder: &Path) -> Classification {
        let file = library();
        let found = classify(&file).unwrap();
        let mut cache = ScanCache::open(folder).unwrap();
        cache.put(&file, Some(found.clone()));
        cache.save().unwrap();
        found
    }

    #[test]
    fn what_was_found_is_found_again_by_the_next_agent() {
        let folder = tempfile::tempdir().unwrap();
        let found = filled(folder.path());
        let mut cache = ScanCache::open(folder.path()).unwrap();
        assert_eq!(cache.get(&library()), Some(Some(found)));
    }

    #[test]
    fn another_file_with_the_same_build_id_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let copy = folder.path().join("copy");
        let original = library();
        std::fs::copy(
            format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&original)),
            &copy,
        )
        .unwrap();
        let mut cache = ScanCache::open(folder.path()).unwrap();
        assert_eq!(cache.get(&File::open(copy).unwrap()), None);
    }

    #[test]
    fn a_damaged_cache_is_empty_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let found = filled(folder.path());
        let path = folder.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let other_form = String::from_utf8_lossy(&whole).replacen("qtap-scans 1", "qtap-scans 2", 1);
        for damaged in [
            &whole[..whole.len() / 2],
            &flipped,
            other_form.as_bytes(),
            b"\xff\xff\n",
            b"qtap-scans 1",
        ] {
            std::fs::write(&path, damaged).unwrap();
            let mut cache = ScanCache::open(folder.path()).unwrap();
            assert!(cache.is_empty());
            cache.put(&library(), Some(found.clone()));
            cache.save().unwrap();
            drop(cache);
            assert_eq!(ScanCache::open(folder.path()).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_another_build_found_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let path = folder.path().join(NAME);
        let mut content = decode(&std::fs::read(&path).unwrap()).unwrap();
        content.agent.push('x');
        std::fs::write(&path, encode(&content).unwrap()).unwrap();
        assert!(ScanCache::open(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn a_cache_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let path = folder.path().join(NAME);
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
        };
        mode(&path, 0o620);
        assert!(matches!(
            ScanCache::open(folder.path()),
            Err(CacheError::NotOwn { .. })
        ));
        mode(&path, 0o600);
        assert!(ScanCache::open(folder.path()).is_ok());
        mode(folder.path(), 0o777);
        assert!(matches!(
            ScanCache::open(folder.path()),
            Err(CacheError::NotOwn { .. })
        ));
        mode(folder.path(), 0o700);
        std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(ScanCache::open(folder.path()).is_err());
    }

    #[test]
    fn one_agent_at_a_time_writes() {
        let folder = tempfile::tempdir().unwrap();
        let found = filled(folder.path());
        let first = ScanCache::open(folder.path()).unwrap();
        let mut second = ScanCache::open(folder.path()).unwrap();
        assert_eq!(second.get(&library()), Some(Some(found)));
        assert!(second.file.is_none() && first.file.is_some());
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let found = filled(folder.path());
        let mut cache = ScanCache::open(folder.path()).unwrap();
        let (key, known) = cache.files.drain().next().unwrap();
        for number in 0..MAX_FILES as u64 {
            let mut other = key;
            other.identity.inode.inode = u64::MAX - number;
            let used = 1_000_000 + number;
            cache.files.insert(
                other,
                Known {
                    used,
                    ..known.clone()
                },
            );
        }
        cache.put(&library(), Some(found));
        let has = |used| cache.files.values().any(|known| known.used == used);
        assert_eq!(cache.files.len(), MAX_FILES);
        assert!(!has(1_000_000) && has(1_000_001));
        assert!(cache.files.contains_key(&key));
    }
}
