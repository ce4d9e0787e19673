//! Scans beside the tracker's own work, and what is kept of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Sender, bounded, unbounded};
use qtap_capture::{Hook, Pid};
use qtap_probe::{
    Admitted, Attacher, Expected, Implementations, Input, ScanCache, Source, Tracker, tls_libraries,
};
use tempfile::TempDir;

/// Larger than what is scanned where it is met.
const LARGE: u64 = 24 << 20;

#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<u64>>>);

impl Recorder {
    fn has(&self, inode: u64) -> bool {
        self.0.lock().unwrap().contains(&inode)
    }
}

impl Attacher for Recorder {
    type Links = ();

    fn attach(&self, file: &Path, _: Option<Pid>, _: &[(Hook, u64)]) -> Result<(), String> {
        self.0
            .lock()
            .unwrap()
            .push(std::fs::metadata(file).unwrap().ino());
        Ok(())
    }

    fn mark_known(&self, _: u64, _: u64) {}

    fn forget(&self, _: u64, _: u64) {}

    fn forget_go_calls(&self, _: Pid) {}
}

/// A running tracker.
struct Running {
    inbox: Sender<Input>,
    expected: Sender<Expected>,
    recorder: Recorder,
    implementations: Implementations,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    fn start(cache: ScanCache) -> Self {
        let recorder = Recorder::default();
        let tracker = Tracker::new(recorder.clone(), Source::Auto).with_cache(cache);
        let implementations = tracker.implementations();
        let (inbox, inputs) = unbounded();
        let (expected, files) = unbounded();
        let thread = std::thread::spawn(move || tracker.run(&inputs, &files));
        Self {
            inbox,
            expected,
            recorder,
            implementations,
            thread,
        }
    }

    fn expect(&self, file: &Path) -> Admitted {
        let (done, outcome) = bounded(1);
        let done = Box::new(move |admitted| done.send(admitted).unwrap());
        let file = file.to_owned();
        self.expected.send(Expected { file, done }).unwrap();
        outcome.recv_timeout(Duration::from_secs(60)).expect("an answer")
    }

    fn stop(self) {
        self.inbox.send(Input::Stop).unwrap();
        self.thread.join().unwrap();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A folder on a disk: what is on memory file systems is not kept.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A copy of libssl with so much behind its end that it is a large file, written an hour ago.
fn large_library(folder: &Path) -> PathBuf {
    let libraries = tls_libraries().unwrap();
    let is_libssl = |path: &&PathBuf| path.to_string_lossy().contains("libssl.so.3");
    let copy = folder.join("libssl.so.3");
    std::fs::copy(libraries.iter().find(is_libssl).unwrap(), &copy).unwrap();
    let file = File::options().write(true).open(&copy).unwrap();
    file.set_len(LARGE).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .unwrap();
    copy
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_large_file_that_a_process_maps_is_probed_once_it_is_scanned() {
    let folder = folder();
    let library = large_library(folder.path());
    let inode = std::fs::metadata(&library).unwrap().ino();
    let tracker = Running::start(ScanCache::default());
    let process = Killed(
        Command::new("sleep")
            .arg("60")
            .env("LD_PRELOAD", &library)
            .spawn()
            .unwrap(),
    );
    let pid = Pid(process.0.id());
    let mapped = || std::fs::read_to_string(format!("/proc/{}/maps", pid.0)).unwrap();
    until("the library is mapped", || mapped().contains("libssl.so.3"));
    tracker.inbox.send(Input::Exec(pid)).unwrap();
    until("the library is probed", || tracker.recorder.has(inode));
    let names = || tracker.implementations.of(pid).map(|found| found.names());
    until("the process is known to have it", || {
        names() == Some(vec!["openssl"])
    });
    tracker.stop();
}

#[test]
fn whoever_is_about_to_execute_a_large_file_is_told_when_it_is_probed() {
    let folder = folder();
    let library = large_library(folder.path());
    let inode = std::fs::metadata(&library).unwrap().ino();
    let tracker = Running::start(ScanCache::default());
    assert_eq!(tracker.expect(&library), Admitted::Probed);
    assert!(tracker.recorder.has(inode));
    assert_eq!(tracker.expect(Path::new("/bin/true")), Admitted::Nothing);
    assert_eq!(tracker.expect(Path::new("/nowhere")), Admitted::Failed);
    tracker.stop();
}

#[test]
fn the_next_agent_scans_no_large_file_again() {
    let folder = folder();
    let library = large_library(folder.path());
    let inode = std::fs::metadata(&library).unwrap().ino();
    let cache = || ScanCache::open(&folder.path().join("cache")).unwrap();
    let first = Running::start(cache());
    assert_eq!(first.expect(&library), Admitted::Probed);
    let counters = first.implementations.counters();
    assert_eq!((counters.scans, counters.cached), (1, 0));
    first.stop();
    let second = Running::start(cache());
    assert_eq!(second.expect(&library), Admitted::Probed);
    assert!(second.recorder.has(inode));
    let counters = second.implementations.counters();
    assert_eq!((counters.scans, counters.cached), (0, 1));
    second.stop();
    // Written to: what was found holds no more.
    File::options()
        .append(true)
        .open(&library)
        .unwrap()
        .set_len(LARGE + 1)
        .unwrap();
    let third = Running::start(cache());
    assert_eq!(third.expect(&library), Admitted::Probed);
    assert_eq!(third.implementations.counters().scans, 1);
    third.stop();
}
