//! Roots other than the agent's own, as containers have.
//!
//! A program of a container may be over within some ten milliseconds, and its first TLS connection begins before its library has been met, opened, read and
//! probed. So the libraries that the dynamic loader would find there are probed when the first program is executed, while it is being linked. Not those of a mere
//! `chroot` in the agent's mount namespace: a probe would keep its file system from being unmounted for some 100 ms after its last program.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use qtap_capture::Pid;

use super::files::Meaning;
use super::mounts::{Namespace, inode};
use super::{Attacher, Tracker};
use crate::identity::Inode;
use crate::{loader_cache, maps};

/// How long a root counts as looked at; another may get its number.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// Roots remembered. At the limit all are forgotten and looked at again.
const MAX_ROOTS: usize = 4096;

/// Which roots have been looked at.
#[derive(Debug)]
pub(super) struct Roots {
    own: Option<Inode>,
    known: HashMap<Inode, Instant>,
}

impl Roots {
    pub(super) fn new() -> Self {
        Self {
            own: inode(Path::new("/")),
            known: HashMap::new(),
        }
    }

    /// Whether it is to be looked at; asked once.
    fn is_new(&mut self, root: Inode, now: Instant) -> bool {
        if self.own == Some(root) || (self.known.get(&root)).is_some_and(|until| now < *until) {
            return false;
        }
        if self.known.len() >= MAX_ROOTS {
            self.known.clear();
        }
        self.known.insert(root, now + KNOWN_FOR);
        true
    }
}

impl<A: Attacher> Tracker<A> {
    /// Probes the TLS libraries of the root of `pid`, unless that was done. They stay as long as somebody may use them, like files that
    /// nobody maps any more.
    pub(super) fn look_around(&mut self, pid: Pid) {
        let entry = Path::new("/proc").join(pid.0.to_string());
        let (root, now) = (entry.join("root"), Instant::now());
        let Some(namespace) = self.mounts.namespace(pid) else {
            return;
        };
        if !inode(&root).is_some_and(|inode| self.roots.is_new(inode, now)) {
            return;
        }
        let libraries = loader_cache::tls_libraries_of(&root).unwrap_or_else(|error| {
            tracing::debug!(pid = pid.0, %error, "cannot read the loader cache of a root: its libraries are probed when they are mapped");
            Vec::new()
        });
        for library in libraries {
            self.probe_ahead(&root, &library, namespace, now);
        }
        self.count_gauges();
    }

    fn probe_ahead(&mut self, root: &Path, path: &Path, namespace: Namespace, now: Instant) {
        // Neither a link to nowhere nor the end of the program is a fault of the library: it is looked at again when it is mapped.
        let Ok(file) = maps::open_regular(path) else {
            return;
        };
        let within = path.strip_prefix(root).unwrap_or(path);
        let name = format!("/{}", within.display());
        match self.files.admit(file, &name, &self.report, now) {
            Ok(Meaning::File(inode)) => {
                if let Some(entry) = self.files.get_mut(inode) {
                    entry.namespace.get_or_insert(namespace);
                }
                self.attach_pinned(&[inode]);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(path = name, %error, "cannot scan library");
                self.report.count(|counters| counters.scan_failures += 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_new_once_and_again_after_a_while_and_our_own_is_not() {
        let mut roots = Roots::new();
        let now = Instant::now();
        let other = Inode { device: 1, inode: 2 };
        assert!(!roots.is_new(inode(Path::new("/proc/self/root")).unwrap(), now));
        assert!(roots.is_new(other, now));
        assert!(!roots.is_new(other, now + KNOWN_FOR / 2));
        assert!(roots.is_new(other, now + KNOWN_FOR));
    }

    #[test]
    fn roots_are_bounded() {
        let mut roots = Roots::new();
        let now = Instant::now();
        for inode in 0..3 * MAX_ROOTS as u64 {
            assert!(roots.is_new(
                Inode {
                    device: u64::MAX,
                    inode
                },
                now
            ));
            assert!(roots.known.len() <= MAX_ROOTS);
        }
    }
}
