//! Files that are probed before anybody maps them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::files::Meaning;
use super::{Attacher, Tracker};
use crate::classify::ClassifyError;
use crate::maps;

/// What was found in a file that is about to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// No TLS code.
    Nothing,
    /// TLS code; what can be probed of it is.
    Probed,
    /// It could not be read, or not now.
    Failed,
}

/// Called when a file is probed, or cannot be; on the tracker's thread, so it must not wait.
pub(super) type Done = Box<dyn FnOnce(Admitted) + Send>;

/// A file that is about to be executed, and who waits for its probes.
pub struct Expected {
    /// The file, as this process can open it.
    pub file: PathBuf,
    /// Called when it is probed, or cannot be; on the tracker's thread, so it must not wait.
    pub done: Done,
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl<A: Attacher> Tracker<A> {
    /// Probes a file before it is executed, and says so; later, if it is a large one.
    pub fn expect(&mut self, expected: Expected) {
        let Expected { file, done } = expected;
        match self.admit_expected(&file) {
            Ok(Meaning::File(inode)) => {
                self.attach_pinned(&[inode]);
                self.count_gauges();
                done(Admitted::Probed);
            }
            Ok(Meaning::Pending(inode)) => self.tell_of(inode, done),
            Ok(_) => done(Admitted::Nothing),
            Err(error) => {
                tracing::debug!(path = %file.display(), %error, "a program that waits cannot be looked into");
                done(Admitted::Failed);
            }
        }
    }

    fn admit_expected(&mut self, path: &Path) -> Result<Meaning, ClassifyError> {
        let file = maps::open_regular(path)?;
        // By descriptor of another process: what it is called, for people.
        let name = std::fs::read_link(path).unwrap_or_else(|_| path.to_owned());
        self.files
            .admit(file, &name.to_string_lossy(), &self.report, Instant::now())
    }
}
