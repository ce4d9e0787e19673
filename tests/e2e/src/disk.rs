//! File systems of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::run_ok;

/// A tmpfs, unmounted when dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Makes the folder `at` and mounts it there, with these options of mount(8).
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[must_use]
    pub fn mount(at: &Path, options: &str) -> Self {
        std::fs::create_dir(at).expect("a folder that is not there yet");
        run_ok(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "none"])
                .arg(at),
        );
        Self(at.to_owned())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it could be unmounted.
    ///
    /// # Panics
    /// When there is no umount(8).
    #[must_use]
    pub fn unmount(&self) -> bool {
        let status = Command::new("umount").arg(&self.0).stderr(Stdio::null()).status();
        status.expect("umount").success()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Somebody may still have a file open there, and it may be unmounted already.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .stderr(Stdio::null())
            .status();
    }
}
