//! A configuration file that may change while the agent runs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::diagnostic::Diagnostics;
use crate::parse::MAX_FILE;
use crate::schema::Config;

/// Why a configuration could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}: {source}")]
    Read {
        /// As the user wrote it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not UTF-8.
    #[error("cannot read configuration {path}: it is not UTF-8 text (byte {offset})")]
    NotText {
        /// As the user wrote it.
        path: PathBuf,
        /// First byte that is not text.
        offset: usize,
    },
    /// An address instead of a path.
    #[error(
        "cannot load configuration from {url}: loading from an address is not available yet; give a file"
    )]
    UrlNotAvailable {
        /// As the user wrote it.
        url: String,
    },
    /// The file was read and is not a valid configuration.
    #[error("invalid configuration\n{0}")]
    Invalid(#[from] Diagnostics),
}

/// Reads and checks the file at a path.
///
/// # Errors
/// [`LoadError`].
pub fn load_file(path: &Path) -> Result<(Config, Diagnostics), LoadError> {
    let text = read(path)?;
    Ok(Config::parse(&path.display().to_string(), &text)?)
}

/// Reads a stream to its end, for example standard input, as a configuration.
///
/// # Errors
/// [`LoadError`].
pub fn load_reader(name: &str, reader: impl Read) -> Result<(Config, Diagnostics), LoadError> {
    let text = read_text(Path::new(name), reader)?;
    Ok(Config::parse(name, &text)?)
}

fn read(path: &Path) -> Result<String, LoadError> {
    if let Some(url) = path.to_str().filter(|text| is_url(text)) {
        return Err(LoadError::UrlNotAvailable { url: url.to_owned() });
    }
    let file = File::open(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    read_text(path, file)
}

fn is_url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// One byte more than allowed is read, so that the check of the size is [`Config::parse`]'s alone.
fn read_text(path: &Path, reader: impl Read) -> Result<String, LoadError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(4);
    reader
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
    String::from_utf8(bytes).map_err(|error| LoadError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}

/// What tells one state of a file from another, links followed: a replaced link (as Kubernetes does) changes the inode,
/// an edit in place changes size or times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` when there is no such file, which is a state like any other.
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// A loaded file that can be watched and loaded again.
///
/// Watching is one `stat` per [`changed`](Self::changed), to be called about twice a second from a thread that sleeps
/// anyway: it follows links and works on every file system, which inotify does not.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    /// Text of the configuration in use.
    text: String,
    /// State of the file when it was last read.
    read: Option<Stamp>,
    /// State of the file at the last look.
    seen: Option<Stamp>,
}

impl ConfigFile {
    /// Loads a file for the first time.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<(Self, Config, Diagnostics), LoadError> {
        let path = path.into();
        // The stamp before the text: a change between the two is then seen as one, not missed.
        let stamp = Stamp::of(&path);
        let text = read(&path)?;
        let (config, warnings) = Config::parse(&path.display().to_string(), &text)?;
        Ok((
            Self {
                path,
                text,
                read: stamp,
                seen: stamp,
            },
            config,
            warnings,
        ))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has changed since it was last read. True once per change, and only when two looks in a row saw
    /// the same state, so that a file is not read while it is being written.
    pub fn changed(&mut self) -> bool {
        let now = Stamp::of(&self.path);
        let settled = now == self.seen;
        self.seen = now;
        if settled && now != self.read {
            self.read = now;
            return true;
        }
        false
    }

    /// Reads the file again. `None` if its text is that of the configuration in use.
    ///
    /// # Errors
    /// [`LoadError`]; the configuration in use should then be kept. Each call with a bad file says so again.
    pub fn reload(&mut self) -> Result<Option<(Config, Diagnostics)>, LoadError> {
        let stamp = Stamp::of(&self.path);
        self.read = stamp;
        self.seen = stamp;
        let text = read(&self.path)?;
        if text == self.text {
            return Ok(None);
        }
        let loaded = Config::parse(&self.path.display().to_string(), &text)?;
        self.text = text;
        Ok(Some(loaded))
    }
}
