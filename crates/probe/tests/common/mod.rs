//! What tests of the tracker share: real processes, and an attacher that only records.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too; not all tests use all of it"
)]

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use qtap_capture::{ExecutableMapped, Hook, KernelTime, Pid};
use qtap_probe::{Attacher, Source, Tracker, read_maps, tls_libraries};

/// One attachment: the inode it went to, for whom, which hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) inode: u64,
    pub(crate) pid: Option<Pid>,
    pub(crate) hooks: Vec<Hook>,
}

#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// What is attached now.
    pub(crate) live: Arc<Mutex<Vec<Attached>>>,
    pub(crate) refuse: Mutex<bool>,
    pub(crate) known: Mutex<HashSet<(u64, u64)>>,
}

pub(crate) struct Links {
    live: Arc<Mutex<Vec<Attached>>>,
    what: Attached,
}

impl Drop for Links {
    fn drop(&mut self) {
        let mut live = self.live.lock().unwrap();
        let at = live.iter().position(|attached| *attached == self.what).unwrap();
        live.remove(at);
    }
}

impl Attacher for Recorder {
    type Links = Links;

    fn attach(&self, file: &Path, pid: Option<Pid>, points: &[(Hook, u64)]) -> Result<Links, String> {
        if *self.refuse.lock().unwrap() {
            return Err("no perf events here".to_owned());
        }
        let what = Attached {
            inode: std::fs::metadata(file).unwrap().ino(),
            pid,
            hooks: points.iter().map(|(hook, _)| *hook).collect(),
        };
        self.live.lock().unwrap().push(what.clone());
        Ok(Links {
            live: Arc::clone(&self.live),
            what,
        })
    }

    fn mark_known(&self, device: u64, inode: u64) {
        self.known.lock().unwrap().insert((device, inode));
    }

    fn forget(&self, device: u64, inode: u64) {
        self.known.lock().unwrap().remove(&(device, inode));
    }

    fn forget_go_calls(&self, _: Pid) {}
}

impl Recorder {
    pub(crate) fn on(&self, inode: u64) -> Vec<Attached> {
        self.live
            .lock()
            .unwrap()
            .iter()
            .filter(|attached| attached.inode == inode)
            .cloned()
            .collect()
    }
}

pub(crate) fn tracker(source: Source) -> (Tracker<Arc<Recorder>>, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    (Tracker::new(Arc::clone(&recorder), source), recorder)
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Running {
    pub(crate) fn pid(&self) -> Pid {
        Pid(self.0.id())
    }
}

/// Python with these libraries mapped, waiting in the folder of [`Copied`] files, so that these may stay probed.
pub(crate) fn python(libraries: &[&Path]) -> Running {
    python_by(&[], libraries)
}

/// The same, started by the command `prefix`, which becomes it.
pub(crate) fn python_by(prefix: &[&str], libraries: &[&Path]) -> Running {
    let load: String = libraries
        .iter()
        .map(|path| format!("ctypes.CDLL({path:?});"))
        .collect();
    let script = format!("import ctypes,sys,time;{load}print('r',flush=True);time.sleep(60)");
    let command = [prefix, &["python3", "-c", &script]].concat();
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    Running(child)
}

pub(crate) fn library(name: &str) -> PathBuf {
    let found = tls_libraries()
        .unwrap()
        .into_iter()
        .find(|path| path.to_string_lossy().contains(name));
    found.unwrap_or_else(|| panic!("{name} has to be installed for this test"))
}

pub(crate) fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// A copy of a library at a place that no loader cache knows, gone with the test.
pub(crate) struct Copied(pub(crate) PathBuf);

impl Copied {
    pub(crate) fn of(name: &str, place: &str) -> Self {
        let path = std::env::temp_dir().join(format!("qtap-probe-{}-{place}.so", std::process::id()));
        std::fs::copy(library(name), &path).unwrap();
        Self(path)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _: std::io::Result<()> = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn mapped(process: &Running, path: &Path) -> ExecutableMapped {
    let wanted = inode(path);
    let mapping = read_maps(process.pid())
        .unwrap()
        .into_iter()
        .find(|mapping| mapping.inode.inode == wanted)
        .unwrap();
    ExecutableMapped {
        pid: process.pid(),
        time: KernelTime(1),
        device: mapping.inode.device,
        inode: mapping.inode.inode,
        address: mapping.start,
    }
}
