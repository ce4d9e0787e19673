//! Processes that are always reaped, and waits that always end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest that a client may take.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Repeats `done` until it holds; panics with `what` when it does not within `timeout`.
pub fn until(timeout: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !done() {
        assert!(Instant::now() < deadline, "no {what} within {timeout:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What became of a program.
#[derive(Debug)]
pub struct Finished {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The last line of standard output as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let text = self.text();
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error} in {text:?}; stderr: {}", self.errors()))
    }
}

/// Runs a program to its end, at most a minute.
pub fn run(command: &mut Command) -> Finished {
    Program::start(command.stdin(Stdio::null())).finish(CLIENT_TIMEOUT)
}

/// As [`run`], and it must succeed.
pub fn run_ok(command: &mut Command) -> Finished {
    let finished = run(command);
    assert!(
        finished.status.success(),
        "{command:?}: {}\n{}{}",
        finished.status,
        finished.text(),
        finished.errors()
    );
    finished
}

/// A running program; killed and reaped when dropped.
pub struct Program {
    child: Child,
    name: String,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_reader: JoinHandle<()>,
}

impl Program {
    /// Starts it with its outputs piped; standard input as `command` says, piped if it says so.
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; run scripts/setup tests"));
        let mut stdout = BufReader::new(child.stdout.take().expect("a piped output"));
        let mut stderr = child.stderr.take().expect("a piped output");
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            while matches!(stdout.read_until(b'\n', &mut line), Ok(1..)) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        let errors = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&errors);
        let stderr_reader = thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut part) {
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&part[..count]);
            }
        });
        let stdin = child.stdin.take();
        Self {
            child,
            name,
            stdin,
            lines,
            stderr: errors,
            stderr_reader,
        }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output, without its end.
    pub fn line(&mut self, timeout: Duration) -> String {
        match self.lines.recv_timeout(timeout) {
            Ok(line) => String::from_utf8_lossy(&line).trim_end().to_owned(),
            Err(error) => {
                let _ = self.child.kill();
                panic!(
                    "no line from {} within {timeout:?} ({error}); stderr: {}",
                    self.name,
                    self.errors()
                )
            }
        }
    }

    /// Writes a line to its standard input, in one call: some programs act on what one read gives them.
    pub fn say(&mut self, line: &str) {
        let stdin = self
            .stdin
            .as_mut()
            .expect("a program started with a piped standard input");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .expect("write to a running program");
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("signal {}: {error}", self.name));
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes its standard input and waits for its end; panics when it takes longer than `timeout`.
    pub fn finish(mut self, timeout: Duration) -> Finished {
        self.stdin = None;
        let deadline = Instant::now() + timeout;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                break status;
            }
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                panic!(
                    "{} did not end within {timeout:?}; stderr: {}",
                    self.name,
                    self.errors()
                );
            }
            thread::sleep(Duration::from_millis(5));
        };
        let mut stdout = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            stdout.extend_from_slice(&line);
        }
        // A grandchild may hold the pipe open for longer than anybody needs.
        while !self.stderr_reader.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        Finished {
            pid: self.pid(),
            status,
            stdout,
            stderr: self.errors().into_bytes(),
        }
    }

    /// Standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Either it has ended, which is what is wanted, or this ends it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
