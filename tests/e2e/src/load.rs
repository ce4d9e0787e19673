//! nginx with documents, and a load generator for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{
    Agent, Capture, Certificates, Curl, Finished, Nginx, Program, Transport, assert_healthy,
    deterministic_bytes, free_port, scratch, single, wait_for_both_ends,
};

/// Documents, unless a test wants its own.
const DOCUMENTS: usize = 8;

/// A server with one plain and one TLS port, and documents `/0`, `/1`, …
pub struct Load {
    folder: tempfile::TempDir,
    _nginx: Nginx,
    certificates: Certificates,
    documents: usize,
    /// Of HTTP.
    pub plain: u16,
    /// Of HTTPS.
    pub tls: u16,
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

impl Load {
    /// Starts the server.
    #[must_use]
    pub fn new() -> Self {
        Self::of((0..DOCUMENTS).map(|number| 100 + number * 2500))
    }

    /// Starts the server with documents of these lengths.
    #[must_use]
    pub fn of(lengths: impl ExactSizeIterator<Item = usize>) -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let (plain, tls) = (free_port(), free_port());
        let servers = format!(
            "server {{ listen 127.0.0.1:{plain}; }}\n\
             server {{ listen 127.0.0.1:{tls} ssl http2; ssl_certificate {}; ssl_certificate_key {}; }}",
            certificates.certificate.display(),
            certificates.key.display()
        );
        let nginx = Nginx::start(folder.path(), &servers, &[plain, tls]);
        let documents = lengths.len();
        for (number, length) in lengths.enumerate() {
            nginx.put(&number.to_string(), &deterministic_bytes(length));
        }
        Self {
            folder,
            _nginx: nginx,
            certificates,
            documents,
            plain,
            tls,
        }
    }

    /// A folder that goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Certificates of the server.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Starts h2load on all documents of a port.
    #[must_use]
    pub fn start(&self, port: u16, arguments: &[&str]) -> Generator {
        let mut command = Command::new("h2load");
        command.args(arguments).arg("-i").arg(self.list(port));
        Generator {
            program: Program::start(&mut command),
            stop: None,
        }
    }

    /// The same again and again, each time for a second, until its end is waited for.
    #[must_use]
    pub fn start_until_finished(&self, port: u16, arguments: &[&str]) -> Generator {
        let stop = self.folder.path().join(format!("stop-{port}"));
        let script = "while [ ! -e \"$0\" ]; do h2load -D 1 \"$@\" || exit; done";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).arg(&stop).args(arguments);
        command.arg("-i").arg(self.list(port));
        Generator {
            program: Program::start(&mut command),
            stop: Some(stop),
        }
    }

    /// A file with the addresses of all documents.
    fn list(&self, port: u16) -> PathBuf {
        let scheme = if port == self.tls { "https" } else { "http" };
        let list = self.folder.path().join(format!("urls-{port}"));
        let urls: String = (0..self.documents)
            .map(|number| format!("{scheme}://127.0.0.1:{port}/{number}\n"))
            .collect();
        std::fs::write(&list, urls).expect("write a list");
        list
    }

    /// One request over TLS is captured whole: the agent is well. Returns what it saw at the client.
    #[must_use]
    pub fn probe(&self, agent: &Agent, name: &str) -> Capture {
        let pid = self.request(name);
        agent.wait_for_connections(&[pid], 1);
        let capture = single(&agent.events(), pid);
        assert_healthy(&capture, Transport::Tls);
        capture
    }

    /// One request over TLS; the client's pid.
    #[must_use]
    pub fn request(&self, name: &str) -> u32 {
        let url = format!("https://{name}.qtap.test:{}/3", self.tls);
        let (finished, _) = Curl::new(self.folder.path(), &url)
            .authority(&self.certificates.authority)
            .args(&["-o", "/dev/null"])
            .run();
        finished.pid
    }

    /// As [`wait_for_both_ends`].
    pub fn wait_for_both_ends(&self, agent: &Agent, count: usize) {
        wait_for_both_ends(agent, self.tls, count);
    }
}

/// A running load generator.
pub struct Generator {
    program: Program,
    /// The file that has it stop.
    stop: Option<PathBuf>,
}

impl Generator {
    /// Waits for its end: no request may have failed. Returns how many there were.
    #[must_use]
    pub fn finish(self) -> u64 {
        if let Some(stop) = &self.stop {
            std::fs::write(stop, "").expect("write a file");
        }
        let finished = self.program.finish(Duration::from_secs(60));
        unharmed(&finished)
    }
}

fn unharmed(finished: &Finished) -> u64 {
    let text = finished.text();
    assert!(finished.status.success(), "{text}{}", finished.errors());
    let reports = text.lines().filter(|line| line.starts_with("requests:"));
    let counts = reports.map(|line| {
        assert!(line.contains(" 0 failed, 0 errored, 0 timeout"), "{text}");
        let succeeded = line.split(", ").find_map(|part| part.strip_suffix(" succeeded"));
        succeeded.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
    });
    let count: u64 = counts.sum();
    assert!(count > 0, "the workload did nothing: {text}");
    count
}
