//! Whose file systems probes keep busy.
//!
//! While a file is probed, or open, the mount that it was opened by cannot be unmounted. That must not outlast the programs that used the file: whoever
//! runs a program of an image and then unmounts the image (`chroot`, a build of images, a snap that is replaced) would fail. Unless the mount is busy
//! anyway: as the root of the host, or because a process has its root or its working directory there, or it is in a mount namespace of its own, as in a container that goes
//! on (when the last process of a namespace ends, its mounts go whether or not they are busy), or was in one and is of the file system of the host's root, as of a service that is
//! kept from parts of it. There the probes stay, for the next program of the same kind to be read from its first byte.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use qtap_capture::Pid;
use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

use crate::identity::Inode;

/// Mounts that nobody unmounts while the host runs.
const PERMANENT: [&str; 2] = ["/", "/usr"];

/// A mount, as `STATX_MNT_ID` has it (Linux 5.8). The number is used again once the mount is gone, which it is not while a file of it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mount(u64);

impl Mount {
    /// The one that `file` was opened by. `None`: it cannot be known.
    pub(super) fn of(file: &File) -> Option<Self> {
        Self::from(statx(
            file,
            "",
            AtFlags::EMPTY_PATH | ASKED_LOCALLY,
            StatxFlags::MNT_ID,
        ))
    }

    fn at(path: &Path) -> Option<Self> {
        Self::from(statx(CWD, path, ASKED_LOCALLY, StatxFlags::MNT_ID))
    }

    fn from(answer: rustix::io::Result<rustix::fs::Statx>) -> Option<Self> {
        let answer = answer.ok()?;
        let is_known = answer.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        is_known.then_some(Self(answer.stx_mnt_id))
    }
}

/// A server of the file system that does not answer is not waited for.
const ASKED_LOCALLY: AtFlags = AtFlags::STATX_DONT_SYNC;

/// Of what `path` leads to.
pub(super) fn inode(path: &Path) -> Option<Inode> {
    let found = statx(CWD, path, ASKED_LOCALLY, StatxFlags::INO).ok()?;
    Some(Inode {
        device: makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
    })
}

/// A mount namespace other than the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Namespace(Inode);

/// By whom, and for what, a mount was used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// The first program of the file was in this namespace.
    pub(super) namespace: Option<Namespace>,
    /// Of the file.
    pub(super) device: u64,
}

/// Which mounts are busy whatever we do.
#[derive(Debug)]
pub(super) struct Mounts {
    permanent: Vec<Mount>,
    /// The devices of these.
    permanent_devices: Vec<u64>,
    own_namespace: Option<Inode>,
    /// A process that has its root or working directory there, or lives in its namespace, as of the last look. Only mounts with files that nobody uses.
    holders: HashMap<Mount, Pid>,
}

impl Mounts {
    pub(super) fn new() -> Self {
        Self {
            own_namespace: inode(Path::new("/proc/self/ns/mnt")),
            permanent: PERMANENT
                .iter()
                .filter_map(|path| Mount::at(Path::new(path)))
                .collect(),
            permanent_devices: PERMANENT
                .iter()
                .filter_map(|path| Some(inode(Path::new(path))?.device))
                .collect(),
            holders: HashMap::new(),
        }
    }

    /// That of `pid`; `None`: it is our own, or the process is gone.
    pub(super) fn namespace(&self, pid: Pid) -> Option<Namespace> {
        let namespace = namespace(pid).filter(|found| Some(*found) != self.own_namespace);
        namespace.map(Namespace)
    }

    /// Whether nobody unmounts it while the host runs.
    pub(super) fn is_permanent(&self, mount: Mount) -> bool {
        self.permanent.contains(&mount)
    }

    /// Whether nobody could unmount it now, or it is in a namespace that goes on, if neither we were there nor `leaving`, a process that is about to be gone. Looks at
    /// all processes where the one that was found last time is not there any more.
    pub(super) fn is_busy(&mut self, mount: Mount, used: Use, leaving: Option<Pid>) -> bool {
        let holds = |pid: Pid| leaving != Some(pid) && holds(pid, mount, used.namespace);
        // A namespace takes its mounts along, and nobody unmounts the file system.
        let only_lent = used.namespace.is_some() && self.permanent_devices.contains(&used.device);
        if only_lent || self.is_permanent(mount) || self.holders.get(&mount).is_some_and(|pid| holds(*pid)) {
            return true;
        }
        match processes().find(|pid| holds(*pid)) {
            Some(pid) => {
                self.holders.insert(mount, pid);
                true
            }
            None => {
                self.holders.remove(&mount);
                false
            }
        }
    }

    /// Whether `pid` was found on one of them.
    pub(super) fn is_holder(&self, pid: Pid) -> bool {
        self.holders.values().any(|holder| *holder == pid)
    }

    /// Forgets mounts that nobody asks for any more.
    pub(super) fn retain(&mut self, is_asked_for: impl Fn(Mount) -> bool) {
        self.holders.retain(|mount, _| is_asked_for(*mount));
    }
}

fn entry(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.0.to_string())
}

fn namespace(pid: Pid) -> Option<Inode> {
    inode(&entry(pid).join("ns/mnt"))
}

fn holds(pid: Pid, mount: Mount, within: Option<Namespace>) -> bool {
    if let Some(Namespace(within)) = within {
        return namespace(pid) == Some(within);
    }
    let entry = entry(pid);
    ["root", "cwd"]
        .iter()
        .any(|name| Mount::at(&entry.join(name)) == Some(mount))
}

/// All that can be listed; a list that cannot be had is an empty one: then files are let go of early.
fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid))
}
