//! What a file is, whatever its path.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Device and inode as in `stat(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Inode {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// The content of a file as far as `stat(2)` can tell; with the build id the key of a classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Which file.
    pub inode: Inode,
    /// Its size in bytes.
    pub size: u64,
    /// Its modification time in nanoseconds of the epoch.
    pub mtime_ns: i128,
}

impl FileIdentity {
    /// Identity of an open file.
    ///
    /// # Errors
    /// `fstat(2)` failed, or it is not a regular file.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self {
            inode: Inode {
                device: metadata.dev(),
                inode: metadata.ino(),
            },
            size: metadata.len(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        })
    }
}

/// A file that changed so lately may still be being written.
const SETTLED: Duration = Duration::from_secs(5);

impl FileIdentity {
    /// Whether the file was written to a moment ago, by the clocks of this host.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the file's time is wall time; where it was set, the file is looked at once more or once less"
    )]
    pub fn is_young(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ns = now.map_or(0, |now| i128::try_from(now.as_nanos()).unwrap_or(i128::MAX));
        (now_ns - self.mtime_ns).unsigned_abs() < SETTLED.as_nanos()
    }
}

/// The linker's content hash (`NT_GNU_BUILD_ID`).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuildId(pub Vec<u8>);

impl std::fmt::Display for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BuildId({self})")
    }
}
