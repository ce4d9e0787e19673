//! Who waits for a large file to be scanned.

use std::time::Instant;

use qtap_capture::Pid;

use super::expected::{Admitted, Done};
use super::files::{Meaning, RETRY};
use super::scanner::Scanned;
use super::{Attacher, Tracker};
use crate::identity::Inode;

/// Processes that wait for one file. Further ones are found when all processes are looked at again.
const MAX_PROCESSES: usize = 4096;

/// Of one file.
#[derive(Default)]
pub(super) struct Waiters {
    /// Those that have it mapped, and by what name (device and inode).
    processes: Vec<(Pid, Inode)>,
    /// Those who are about to execute it.
    expected: Vec<Done>,
    /// The dynamic loader would find it.
    pinned: bool,
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters")
            .field("processes", &self.processes)
            .field("expected", &self.expected.len())
            .field("pinned", &self.pinned)
            .finish()
    }
}

impl<A: Attacher> Tracker<A> {
    /// `pid` has the file mapped, under the name `name`.
    pub(super) fn wait_for(&mut self, file: Inode, pid: Pid, name: Inode) {
        let processes = &mut self.waiters.entry(file).or_default().processes;
        if processes.len() < MAX_PROCESSES && !processes.contains(&(pid, name)) {
            processes.push((pid, name));
        }
    }

    /// Somebody wants to be told when the file is probed.
    pub(super) fn tell_of(&mut self, file: Inode, done: Done) {
        self.waiters.entry(file).or_default().expected.push(done);
    }

    /// The file stays attached without users.
    pub(super) fn pin_later(&mut self, file: Inode) {
        self.waiters.entry(file).or_default().pinned = true;
    }

    /// A file has been scanned: attaches what it needs, and goes on with those who wait for it.
    pub(super) fn scanned(&mut self, scanned: Scanned) {
        let now = Instant::now();
        let (inode, is_young) = (scanned.identity.inode, scanned.identity.is_young());
        let path = scanned.path.clone();
        let Waiters {
            processes,
            expected,
            pinned,
        } = self.waiters.remove(&inode).unwrap_or_default();
        let admitted = match self.files.admit_scanned(scanned, now) {
            Ok(Some(Meaning::File(file))) => {
                if let Some(entry) = self.files.get_mut(file) {
                    entry.pinned |= pinned;
                }
                self.attach_pinned(&[file]);
                for (_, name) in &processes {
                    self.learn(*name, Meaning::File(file));
                }
                for (pid, _) in &processes {
                    self.scan_process(*pid);
                }
                Admitted::Probed
            }
            Ok(Some(Meaning::Nothing)) if !is_young => {
                for (_, name) in &processes {
                    self.learn(*name, Meaning::Nothing);
                }
                Admitted::Nothing
            }
            // Half of a file, or another one by now: that is not believed.
            Ok(_) => {
                for (pid, _) in &processes {
                    self.retry_at(now + RETRY, *pid);
                }
                Admitted::Failed
            }
            Err(error) => {
                tracing::debug!(path, %error, "cannot scan file, will try again");
                self.report.count(|counters| counters.scan_failures += 1);
                for (pid, name) in &processes {
                    let times = self.files.failures(*name).saturating_add(1);
                    self.learn(*name, Meaning::Failed(times));
                    if let Some(due) = self.files.expiry(*name) {
                        self.retry_at(due, *pid);
                    }
                }
                Admitted::Failed
            }
        };
        for done in expected {
            done(admitted);
        }
        self.count_gauges();
    }
}
