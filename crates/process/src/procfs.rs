//! Raw reads of `/proc`, each bounded. A process may vanish between any two of them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use qtap_capture::Pid;

/// As much of the arguments as the kernel side reports.
pub(crate) const MAX_ARGS_BYTES: usize = 4096;
const MAX_ENVIRON_BYTES: u64 = 1 << 20;
const MAX_SMALL_FILE_BYTES: u64 = 64 << 10;
/// `AT_CLKTCK` of `getauxval(3)`.
const AT_CLKTCK: u64 = 17;
/// `PF_KTHREAD` of the kernel's `sched.h`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A mounted proc file system.
#[derive(Debug)]
pub(crate) struct ProcFs {
    root: PathBuf,
    tick_ns: u64,
}

/// What we need of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: Pid,
    /// Start since boot, rounded down to a clock tick.
    pub(crate) start_ns: u64,
    pub(crate) kernel_thread: bool,
    /// It has exited and waits to be reaped.
    pub(crate) zombie: bool,
}

impl ProcFs {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let ticks_per_second = clock_ticks(&root).unwrap_or(100);
        Self {
            root,
            tick_ns: 1_000_000_000 / ticks_per_second,
        }
    }

    /// Resolution of [`Stat::start_ns`].
    pub(crate) const fn tick_ns(&self) -> u64 {
        self.tick_ns
    }

    fn path(&self, pid: Pid, name: &str) -> PathBuf {
        self.root.join(pid.0.to_string()).join(name)
    }

    /// The root directory of the process: a magic link into its mount namespace.
    pub(crate) fn root_of(&self, pid: Pid) -> PathBuf {
        self.path(pid, "root")
    }

    /// All processes (not threads), in no order.
    pub(crate) fn pids(&self) -> io::Result<impl Iterator<Item = Pid>> {
        let entries = fs::read_dir(&self.root)?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid)))
    }

    /// Nanoseconds since boot, to 10 ms.
    pub(crate) fn uptime_ns(&self) -> Option<u64> {
        let text = read_bounded(&self.root.join("uptime"), MAX_SMALL_FILE_BYTES).ok()?;
        let text = String::from_utf8(text).ok()?;
        let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
        let hundredths: u64 = hundredths.parse().ok()?;
        Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + hundredths * 10_000_000)
    }

    pub(crate) fn stat(&self, pid: Pid) -> Option<Stat> {
        let text = self.text(pid, "stat")?;
        parse_stat(&text, self.tick_ns)
    }

    /// Path of the executable as the process sees it, without the mark of a file that was deleted since.
    pub(crate) fn exe(&self, pid: Pid) -> Option<String> {
        let target = fs::read_link(self.path(pid, "exe")).ok()?;
        let text = target.to_string_lossy();
        Some(text.strip_suffix(" (deleted)").unwrap_or(&text).to_owned())
    }

    /// Whether the executable is the file that `filename` names inside the root of the process.
    pub(crate) fn exe_is(&self, pid: Pid, filename: &str) -> bool {
        let Some(relative) = filename.strip_prefix('/') else {
            return false;
        };
        let named = fs::metadata(self.root_of(pid).join(relative));
        let running = fs::metadata(self.path(pid, "exe"));
        matches!((named, running), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
    }

    /// First [`MAX_ARGS_BYTES`] of the NUL-separated arguments.
    pub(crate) fn cmdline(&self, pid: Pid) -> Option<Vec<u8>> {
        read_bounded(&self.path(pid, "cmdline"), MAX_ARGS_BYTES as u64).ok()
    }

    /// The environment that exec laid down. Secrets: select and drop.
    pub(crate) fn environ(&self, pid: Pid) -> Option<Vec<u8>> {
        read_bounded(&self.path(pid, "environ"), MAX_ENVIRON_BYTES).ok()
    }

    pub(crate) fn cgroup(&self, pid: Pid) -> Option<String> {
        self.text(pid, "cgroup")
    }

    pub(crate) fn effective_uid(&self, pid: Pid) -> Option<u32> {
        let status = self.text(pid, "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The agent's own host name, if the process shares its UTS namespace.
    pub(crate) fn shared_hostname(&self, pid: Pid) -> Option<String> {
        let theirs = fs::read_link(self.path(pid, "ns/uts")).ok()?;
        let ours = fs::read_link(self.root.join("self/ns/uts")).ok()?;
        if theirs != ours {
            return None;
        }
        let name = read_bounded(&self.root.join("sys/kernel/hostname"), MAX_SMALL_FILE_BYTES).ok()?;
        let name = String::from_utf8_lossy(&name).trim().to_owned();
        (!name.is_empty()).then_some(name)
    }

    fn text(&self, pid: Pid, name: &str) -> Option<String> {
        let bytes = read_bounded(&self.path(pid, name), MAX_SMALL_FILE_BYTES).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Reads at most `limit` bytes.
fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads at most `limit` bytes of a regular file that an observed process may have put there: a link, a FIFO or a
/// device in its place is refused and cannot block.
pub(crate) fn read_foreign_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Fields of `proc_pid_stat(5)`; the name in the second may hold blanks and parentheses.
pub(crate) fn parse_stat(text: &str, tick_ns: u64) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(") ")?;
    let field = |number: usize| after_name.split(' ').nth(number - 3);
    Some(Stat {
        parent: Pid(field(4)?.parse().ok()?),
        start_ns: field(22)?.parse::<u64>().ok()?.saturating_mul(tick_ns),
        kernel_thread: field(9)?.parse::<u64>().ok()? & PF_KTHREAD != 0,
        zombie: matches!(field(3)?, "Z" | "X"),
    })
}

/// Clock ticks a second from the auxiliary vector: `sysconf(3)` without the call.
fn clock_ticks(root: &Path) -> Option<u64> {
    let vector = read_bounded(&root.join("self/auxv"), MAX_SMALL_FILE_BYTES).ok()?;
    let word = |bytes: &[u8]| {
        bytes
            .try_into()
            .ok()
            .map(usize::from_ne_bytes)
            .map(|value| value as u64)
    };
    vector.chunks_exact(2 * size_of::<usize>()).find_map(|pair| {
        let (key, value) = pair.split_at(size_of::<usize>());
        (word(key)? == AT_CLKTCK)
            .then(|| word(value))
            .flatten()
            .filter(|ticks| *ticks > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) (b c) S 7 42 42 0 -1 4194560 118 0 0 0 0 0 0 0 20 0 1 0 137147 3133440 412";
        let expected = Stat {
            parent: Pid(7),
            start_ns: 1_371_470_000_000,
            kernel_thread: false,
            zombie: false,
        };
        assert_eq!(parse_stat(text, 10_000_000), Some(expected));
        assert_eq!(parse_stat("42 (cut) S 7", 1), None);
        assert_eq!(parse_stat("", 1), None);
    }

    #[test]
    fn our_own_process_is_readable() {
        let procfs = ProcFs::new("/proc");
        let own = Pid(std::process::id());
        let stat = procfs.stat(own).unwrap();
        assert_eq!(stat.parent, Pid(std::os::unix::process::parent_id()));
        assert!(stat.start_ns <= procfs.uptime_ns().unwrap() + 2 * procfs.tick_ns());
        assert_eq!(
            procfs.exe(own),
            std::env::current_exe().unwrap().to_str().map(str::to_owned)
        );
        assert!(procfs.pids().unwrap().any(|pid| pid == own));
        assert!(procfs.exe_is(own, std::env::current_exe().unwrap().to_str().unwrap()));
        assert!(!procfs.exe_is(own, "/bin/sh"));
    }

    #[test]
    fn links_and_fifos_in_place_of_a_file_are_refused() {
        let folder = std::env::temp_dir().join(format!("qtap-process-foreign-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let fifo = folder.join("fifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        fs::write(folder.join("file"), "abcdef").unwrap();
        assert!(read_foreign_file(&fifo, 10).is_err());
        assert!(read_foreign_file(&folder.join("link"), 10).is_err());
        assert_eq!(read_foreign_file(&folder.join("file"), 3).unwrap(), b"abc");
        fs::remove_dir_all(&folder).unwrap();
    }
}
