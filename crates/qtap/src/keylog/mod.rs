//! `--keylog`: the secrets of captured connections in the NSS key log format, by which Wireshark opens a capture of packets.
//!
//! Only secrets that proved to be a connection's own, each under the client random of that connection. The file is opened before
//! the agent gives up its privileges; a thread of its own writes, so that a slow disk holds up nobody.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};
use qtap_engine::{Counter, KeyOutcome};
use qtap_server::Samples;
use qtap_tls::OwnSecret;

pub(crate) use file::KeyLogFile;

use crate::status::KeyLogReport;

/// Secrets that may wait to be written: those of a thousand handshakes at a time.
const QUEUE: usize = 4096;
/// How often the same trouble is told.
const REMINDER: Duration = Duration::from_secs(60);
/// What the writer gets for what waits when the agent stops.
const FLUSH: Duration = Duration::from_secs(2);

/// What became of it, for the status and for metrics.
#[derive(Debug, Default)]
pub(crate) struct KeyLogGauges {
    path: PathBuf,
    lines: Counter,
    lost_queue: Counter,
    lost_disk_full: Counter,
    lost_error: Counter,
    told: Counter,
    midstream: Counter,
    unproven: Counter,
    calls: Counter,
    no_secret: Counter,
    error: Mutex<Option<String>>,
}

impl KeyLogGauges {
    fn lost(&self) -> [(&'static str, u64); 3] {
        [
            ("queue_full", self.lost_queue.get()),
            ("disk_full", self.lost_disk_full.get()),
            ("write_error", self.lost_error.get()),
        ]
    }

    fn without(&self) -> [(&'static str, u64); 4] {
        [
            ("cipher_suite_not_opened", self.unproven.get()),
            ("joined_midstream", self.midstream.get()),
            ("read_by_calls", self.calls.get()),
            ("no_secret_seen", self.no_secret.get()),
        ]
    }

    /// For the status.
    pub(crate) fn report(&self) -> KeyLogReport {
        let nonzero = |counts: &[(&'static str, u64)]| -> BTreeMap<String, u64> {
            let counts = counts.iter().filter(|(_, count)| *count > 0);
            counts
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect()
        };
        KeyLogReport {
            file: self.path.display().to_string(),
            lines: self.lines.get(),
            connections: self.told.get(),
            connections_without: nonzero(&self.without()),
            lost: nonzero(&self.lost()),
            error: self.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// For metrics.
    pub(crate) fn samples(&self, out: &mut Samples) {
        out.counter(
            "qtap_keylog_emitted_total",
            "TLS secrets written to the key log.",
            &[],
            self.lines.get(),
        );
        for (reason, count) in self.lost() {
            out.counter(
                "qtap_keylog_lost_total",
                "TLS secrets that could not be written to the key log, by reason.",
                &[("stage", "keylog"), ("reason", reason)],
                count,
            );
        }
        let told = ("written", self.told.get());
        for (keys, count) in std::iter::once(told).chain(self.without()) {
            out.counter(
                "qtap_keylog_connections_total",
                "TLS connections that ended, by whether the key log opens them.",
                &[("keys", keys)],
                count,
            );
        }
    }

    fn set_error(&self, error: String) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Where workers hand secrets in. Never blocks.
#[derive(Clone, Debug)]
pub(crate) struct KeyLogSink {
    /// `None` is the last word.
    queue: Sender<Option<OwnSecret>>,
    gauges: Arc<KeyLogGauges>,
}

impl KeyLogSink {
    /// Hands in a secret; what finds no room is counted.
    pub(crate) fn write(&self, own: &OwnSecret) {
        if self.queue.try_send(Some(own.clone())).is_err() {
            self.gauges.lost_queue.add(1);
            self.gauges
                .set_error("the disk is too slow: secrets found no room in the queue".to_owned());
        }
    }

    /// Counts a TLS connection that ended.
    pub(crate) fn connection(&self, outcome: KeyOutcome) {
        let count = match outcome {
            KeyOutcome::Told => &self.gauges.told,
            KeyOutcome::Midstream => &self.gauges.midstream,
            KeyOutcome::Unproven => &self.gauges.unproven,
            KeyOutcome::Calls => &self.gauges.calls,
            KeyOutcome::NoSecret => &self.gauges.no_secret,
        };
        count.add(1);
    }
}

/// The running key log.
#[derive(Debug)]
pub(crate) struct KeyLog {
    sink: KeyLogSink,
    thread: JoinHandle<()>,
}

impl KeyLog {
    /// Starts to write to `file`, which `path` names, and says so.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(file: KeyLogFile, path: &Path) -> anyhow::Result<Self> {
        tracing::warn!(
            file = %path.display(),
            "--keylog: session keys are written to this file; whoever reads it can decrypt the traffic of every captured TLS connection"
        );
        let gauges = Arc::new(KeyLogGauges {
            path: path.to_owned(),
            ..KeyLogGauges::default()
        });
        let (queue, secrets) = bounded(QUEUE);
        let writer = Writer {
            file,
            gauges: Arc::clone(&gauges),
            reminded: None,
        };
        let thread = std::thread::Builder::new()
            .name("qtap-keylog".to_owned())
            .spawn(move || writer.run(&secrets))
            .context("cannot start a thread for the key log")?;
        Ok(Self {
            sink: KeyLogSink { queue, gauges },
            thread,
        })
    }

    pub(crate) fn sink(&self) -> KeyLogSink {
        self.sink.clone()
    }

    pub(crate) fn gauges(&self) -> Arc<KeyLogGauges> {
        Arc::clone(&self.sink.gauges)
    }

    /// Writes what waits; nothing is taken any more.
    pub(crate) fn stop(self) {
        let until = Instant::now() + FLUSH;
        let asked = self.sink.queue.send_timeout(None, FLUSH);
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if asked.is_err() || !self.thread.is_finished() {
            tracing::warn!(
                secrets = self.sink.queue.len(),
                "the key log did not take everything in time"
            );
        } else if self.thread.join().is_err() {
            tracing::error!("the key log's thread ended by a panic");
        }
    }
}

struct Writer {
    file: KeyLogFile,
    gauges: Arc<KeyLogGauges>,
    reminded: Option<Instant>,
}

impl Writer {
    fn run(mut self, secrets: &Receiver<Option<OwnSecret>>) {
        while let Ok(Some(own)) = secrets.recv() {
            match self.file.append(&own) {
                Ok(()) => self.gauges.lines.add(1),
                Err(error) => self.lose(&error),
            }
        }
    }

    fn lose(&mut self, error: &std::io::Error) {
        let is_full = matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        );
        let count = if is_full {
            &self.gauges.lost_disk_full
        } else {
            &self.gauges.lost_error
        };
        count.add(1);
        self.gauges.set_error(error.to_string());
        if self.reminded.is_none_or(|at| at.elapsed() >= REMINDER) {
            self.reminded = Some(Instant::now());
            let file = self.gauges.path.display();
            tracing::error!(%file, %error, "secrets cannot be written to the key log: the connections they belong to cannot be decrypted with it");
        }
    }
}
