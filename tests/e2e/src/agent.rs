//! The agent under test.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Config, Events, free_port, http_get, scratch, until};

/// Longest from start to ready. Attaching to what already runs takes most of it.
const START: Duration = Duration::from_secs(30);
/// Longest from SIGTERM to exit: 5 s of draining and a reserve.
const STOP: Duration = Duration::from_secs(10);

/// Path of the binary: `QTAP_BIN`, else the release build of this workspace.
#[must_use]
pub fn qtap_bin() -> PathBuf {
    let path = std::env::var_os("QTAP_BIN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/qtap"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "no agent at {}: run `make build`, or set QTAP_BIN",
        path.display()
    );
    assert!(
        rustix::process::geteuid().is_root(),
        "the agent loads eBPF programs: run the end-to-end tests as root (scripts/e2e)"
    );
    path
}

/// The binary with an environment that does not change what it does.
#[must_use]
pub fn qtap_command() -> Command {
    let mut command = Command::new(qtap_bin());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("QPOINT_") || name.starts_with("LOG_") || name.ends_with("_LISTEN") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1");
    command
}

/// What its outputs held so far.
#[derive(Default)]
struct Output {
    events: Vec<Arc<Value>>,
    /// Lines of standard output that are not JSON.
    other: Vec<String>,
    log: Vec<String>,
    closed: bool,
}

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    output: Arc<(Mutex<Output>, Condvar)>,
    status_server: SocketAddr,
    folder: TempDir,
    readers: Vec<thread::JoinHandle<()>>,
    /// Its standard output is not read while somebody holds this.
    reading: Arc<Mutex<()>>,
}

impl Agent {
    /// Starts it with `config` and waits until it is ready.
    #[must_use]
    pub fn start(config: &Config) -> Self {
        Self::start_with(&config.to_string(), &[])
    }

    /// Starts it with the text of a configuration and more arguments, and waits until it is ready.
    #[must_use]
    pub fn start_with(config: &str, arguments: &[&str]) -> Self {
        let folder = scratch();
        let file = folder.path().join("qtap.yaml");
        std::fs::write(&file, config).expect("write the configuration");
        let mut command = qtap_command();
        command.arg("--config").arg(&file).args(arguments);
        Self::spawn(command, folder)
    }

    /// Starts it with another folder for its state.
    #[must_use]
    pub fn start_with_data_dir(config: &Config, data_dir: &Path) -> Self {
        let folder = scratch();
        let file = folder.path().join("qtap.yaml");
        std::fs::write(&file, config.to_string()).expect("write the configuration");
        let mut command = qtap_command();
        command.arg("--config").arg(&file);
        Self::spawn_in(command, folder, data_dir)
    }

    /// Starts it with the built-in configuration.
    #[must_use]
    pub fn start_without_config(arguments: &[&str]) -> Self {
        let mut command = qtap_command();
        command.args(arguments);
        Self::spawn(command, scratch())
    }

    /// Starts it by `wrapper`, a program and its first arguments, which replaces itself with what follows them.
    #[must_use]
    pub fn start_by(wrapper: &[&str], config: &str, arguments: &[&str]) -> Self {
        let (command, folder) = Self::wrapped(wrapper, config, arguments);
        Self::spawn(command, folder)
    }

    /// The same with another folder for its state.
    #[must_use]
    pub fn start_by_in(wrapper: &[&str], config: &Config, data_dir: &Path) -> Self {
        let (command, folder) = Self::wrapped(wrapper, &config.to_string(), &[]);
        Self::spawn_in(command, folder, data_dir)
    }

    fn wrapped(wrapper: &[&str], config: &str, arguments: &[&str]) -> (Command, TempDir) {
        let folder = scratch();
        let file = folder.path().join("qtap.yaml");
        std::fs::write(&file, config).expect("write the configuration");
        let agent = qtap_command();
        let [program, first @ ..] = wrapper else {
            panic!("a wrapper is a program");
        };
        let mut command = Command::new(program);
        command.args(first).arg(agent.get_program());
        for (name, value) in agent.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.arg("--config").arg(&file).args(arguments);
        (command, folder)
    }

    fn spawn(command: Command, folder: TempDir) -> Self {
        let data_dir = folder.path().join("data");
        Self::spawn_in(command, folder, &data_dir)
    }

    fn spawn_in(mut command: Command, folder: TempDir, data_dir: &Path) -> Self {
        let status_server = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        command.arg("--httpd-listen").arg(status_server.to_string());
        command.arg("--data-dir").arg(data_dir);
        // What another test's agent found is not to help this one.
        command.arg("--cache-dir").arg(folder.path().join("cache"));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the agent");
        let output = Arc::new((Mutex::new(Output::default()), Condvar::new()));
        let stdout = child.stdout.take().expect("a piped output");
        let stderr = child.stderr.take().expect("a piped output");
        let reading = Arc::new(Mutex::new(()));
        let readers =
            vec![
                read_lines(Held(stdout, Arc::clone(&reading)), &output, |output, line| {
                    match serde_json::from_str(&line) {
                        Ok(event) => output.events.push(Arc::new(event)),
                        Err(_) => output.other.push(line),
                    }
                }),
                read_lines(stderr, &output, |output, line| output.log.push(line)),
            ];
        let mut agent = Self {
            child,
            output,
            status_server,
            folder,
            readers,
            reading,
        };
        agent.wait_until_ready();
        agent
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START;
        while http_get(self.status_server, "/readyz").map(|(status, _)| status) != Some(200) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the agent ended at start: {status}\n{}", self.log());
            }
            assert!(
                Instant::now() < deadline,
                "the agent was not ready within {START:?}\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Address of its status server.
    #[must_use]
    pub fn status_server(&self) -> SocketAddr {
        self.status_server
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("qtap.yaml")
    }

    /// Stops reading its standard output until the guard is dropped.
    pub fn hold_output(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.lock().log.join("\n")
    }

    /// Lines of its standard output so far that are not JSON.
    #[must_use]
    pub fn other_output(&self) -> Vec<String> {
        self.lock().other.clone()
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.lock().events.clone())
    }

    /// Waits until `done` holds for the events so far; panics with `what` and the log when it does not.
    pub fn wait_for(&self, what: &str, timeout: Duration, mut done: impl FnMut(&Events) -> bool) {
        let deadline = Instant::now() + timeout;
        let mut seen = usize::MAX;
        loop {
            let events = {
                let mut output = self.lock();
                if output.events.len() == seen && Instant::now() < deadline && !output.closed {
                    let wait = deadline
                        .saturating_duration_since(Instant::now())
                        .min(Duration::from_millis(200));
                    output = self
                        .output
                        .1
                        .wait_timeout(output, wait)
                        .map_or_else(|error| error.into_inner().0, |(output, _)| output);
                }
                seen = output.events.len();
                Events::new(output.events.clone())
            };
            if done(&events) {
                return;
            }
            if Instant::now() >= deadline {
                panic!(
                    "no {what} within {timeout:?}\n{}\n--- log\n{}",
                    events.outline(),
                    self.log()
                );
            }
        }
    }

    /// Waits until the log has a line with all of `parts`, and returns it.
    #[must_use]
    pub fn wait_for_log(&self, parts: &[&str], timeout: Duration) -> String {
        let find = || {
            self.lock()
                .log
                .iter()
                .find(|line| parts.iter().all(|part| line.contains(part)))
                .cloned()
        };
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(line) = find() {
                return line;
            }
            assert!(
                Instant::now() < deadline,
                "no log line with {parts:?} within {timeout:?}\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the processes `pids` have `count` finished connections together.
    pub fn wait_for_connections(&self, pids: &[u32], count: usize) {
        self.wait_for(
            &format!("{count} finished connections of {pids:?}"),
            Duration::from_secs(20),
            |events| {
                pids.iter()
                    .map(|pid| events.finished_connections(*pid).len())
                    .sum::<usize>()
                    >= count
            },
        );
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal).expect("signal the agent");
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for the agent")
    }

    /// Bytes of memory that it has in use.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running agent");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kilobytes.expect("its memory") * 1024
    }

    /// Waits for its end.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let mut status = None;
        until(timeout, "end of the agent", || {
            status = self.child.try_wait().expect("wait for the agent");
            status.is_some()
        });
        status.expect("an exit status")
    }

    /// SIGTERM; it must drain and exit with 0. Returns everything it wrote.
    #[must_use]
    pub fn stop(mut self) -> Events {
        self.signal(Signal::TERM);
        let status = self.wait(STOP);
        self.join_readers();
        assert!(status.success(), "the agent ended with {status}\n{}", self.log());
        self.events()
    }

    /// What `/status` says of the TLS libraries in a process that has connections.
    #[must_use]
    pub fn libraries_of(&self, pid: u32) -> Vec<Value> {
        let (status, text) = http_get(self.status_server, "/status").expect("an answer of the status server");
        assert_eq!(status, 200);
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let processes = document["processes"].as_array().into_iter().flatten();
        processes
            .filter(|process| process["pid"] == pid)
            .flat_map(|process| process["tls"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// Waits until it has looked into the program of a process that has a connection: on a busy machine that takes seconds.
    pub fn wait_until_found(&self, pid: u32, implementation: &str) {
        until(Duration::from_secs(60), implementation, || {
            self.libraries_of(pid)
                .iter()
                .any(|library| library["implementations"] == serde_json::json!([implementation]))
        });
    }

    /// Metric `name` (the sum over its labels that contain all of `labels`) on `/system/metrics`.
    #[must_use]
    pub fn system_metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (status, text) =
            http_get(self.status_server, "/system/metrics").expect("an answer of the status server");
        assert_eq!(status, 200);
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter(|line| {
                line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// All that the agent counts as lost, at whatever stage and for whatever reason.
    #[must_use]
    pub fn lost(&self) -> f64 {
        let (_, text) =
            http_get(self.status_server, "/system/metrics").expect("an answer of the status server");
        text.lines()
            .filter(|line| {
                line.split(['{', ' '])
                    .next()
                    .is_some_and(|name| name.ends_with("_lost_total"))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader of the agent's output");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Either it has ended, which is what is wanted, or this ends it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that is read only while nobody holds it.
struct Held<R>(R, Arc<Mutex<()>>);

impl<R: Read> Read for Held<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        drop(self.1.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.read(buffer)
    }
}

fn read_lines(
    pipe: impl Read + Send + 'static,
    output: &Arc<(Mutex<Output>, Condvar)>,
    take: fn(&mut Output, String),
) -> thread::JoinHandle<()> {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            take(&mut output.0.lock().unwrap_or_else(PoisonError::into_inner), line);
            output.1.notify_all();
        }
        output.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        output.1.notify_all();
    })
}
