//! Files of other file systems and roots: probed ahead, and let go of before they are in the way. As root, who may mount.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod common;

use common::{Running, inode, library, python, python_by, tracker};
use qtap_probe::Source;
use tempfile::TempDir;

/// A file system of its own, unmounted and gone with the test.
struct Mounted(TempDir);

impl Mounted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "none"])
            .arg(folder.path()));
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn copy(&self, file: &Path) -> PathBuf {
        let copy = self.path().join(file.file_name().unwrap());
        std::fs::copy(file, &copy).unwrap();
        copy
    }

    fn unmount(&self) -> bool {
        let unmounted = Command::new("umount")
            .arg(self.path())
            .stderr(Stdio::null())
            .status();
        unmounted.unwrap().success()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let lazily = Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .stderr(Stdio::null())
            .status();
        drop(lazily);
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// The same program, once it is what it will be.
fn waits(child: Child) -> Running {
    let program = Running(child);
    let name = format!("/proc/{}/comm", program.pid().0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while std::fs::read_to_string(&name).unwrap() != "sleep\n" {
        assert!(Instant::now() < deadline, "no program was executed");
        std::thread::sleep(Duration::from_millis(1));
    }
    program
}

#[test]
fn a_file_system_can_be_unmounted_once_its_programs_are_over() {
    let mounted = Mounted::new();
    let libssl = mounted.copy(&library("/libssl.so.3"));
    let number = inode(&libssl);
    let (mut tracker, recorder) = tracker(Source::Auto);
    let program = python(&[&libssl]);
    tracker.exec(program.pid());
    assert_eq!(recorder.on(number).len(), 1);
    let pid = program.pid();
    drop(program);
    assert!(!mounted.unmount(), "the tracker has the file open");

    tracker.exited(pid);

    assert_eq!(recorder.on(number), [], "nobody could map it any more");
    assert!(mounted.unmount());
}

#[test]
fn a_file_stays_probed_while_its_file_system_is_in_use_anyway() {
    let mounted = Mounted::new();
    let libssl = mounted.copy(&library("/libssl.so.3"));
    let number = inode(&libssl);
    let (mut tracker, recorder) = tracker(Source::Auto);
    let shell = waits(
        Command::new("sleep")
            .arg("60")
            .current_dir(mounted.path())
            .spawn()
            .unwrap(),
    );
    let program = python(&[&libssl]);
    tracker.exec(program.pid());
    tracker.exited(program.pid());
    drop(program);
    tracker.tick(Instant::now());
    assert_eq!(recorder.on(number).len(), 1, "the next program may use it");

    // As the kernel reports it, which is before the process lets go of its folder.
    tracker.exited(shell.pid());

    assert_eq!(recorder.on(number), []);
}

#[test]
fn a_file_of_the_hosts_root_outlasts_the_namespace_of_its_service() {
    let folder = tempfile::tempdir_in("/").unwrap();
    let libssl = folder.path().join("libssl.so.3");
    std::fs::copy(library("/libssl.so.3"), &libssl).unwrap();
    let number = inode(&libssl);
    let (mut tracker, recorder) = tracker(Source::Auto);
    let service = python_by(&["unshare", "-m"], &[&libssl]);
    tracker.exec(service.pid());
    assert_eq!(recorder.on(number).len(), 1);

    tracker.exited(service.pid());
    drop(service);
    tracker.tick(Instant::now());

    assert_eq!(recorder.on(number).len(), 1, "for when the service starts again");
}

#[test]
fn the_libraries_of_a_container_are_probed_before_they_are_mapped() {
    let root = Mounted::new();
    std::fs::create_dir_all(root.path().join("usr/lib")).unwrap();
    let [libssl, libgnutls] = ["/libssl.so.3", "/libgnutls.so.30"].map(|name| {
        let copy = root.copy(&library(name));
        let place = root.path().join("usr/lib").join(copy.file_name().unwrap());
        std::fs::rename(copy, &place).unwrap();
        inode(&place)
    });
    // It is the owner of a container who decides where paths lead.
    std::os::unix::fs::symlink("/dev/zero", root.path().join("usr/lib/libssl3.so")).unwrap();
    std::fs::copy("/bin/busybox", root.path().join("sleep")).unwrap();
    let in_root = |namespace: &[&str]| {
        let [first, rest @ ..] = namespace else {
            panic!("a program");
        };
        let mut command = Command::new(first);
        waits(
            command
                .args(rest)
                .arg(root.path())
                .args(["/sleep", "60"])
                .spawn()
                .unwrap(),
        )
    };
    let (mut tracker, recorder) = tracker(Source::Auto);

    let chroot = in_root(&["chroot"]);
    tracker.exec(chroot.pid());
    assert_eq!(
        recorder.on(libssl),
        [],
        "it would be in the way of whoever unmounts it"
    );

    let container = in_root(&["unshare", "-m", "chroot"]);
    tracker.exec(container.pid());
    assert_eq!(recorder.on(libssl).len(), 1);
    assert_eq!(recorder.on(libgnutls).len(), 1);
    tracker.tick(Instant::now());
    assert_eq!(recorder.on(libssl).len(), 1);

    tracker.exited(container.pid());

    assert_eq!(recorder.on(libssl), []);
    assert_eq!(recorder.on(libgnutls), []);
}
