//! Scans of large files beside the tracker's own work, so that small ones and the inputs do not wait for them.
//!
//! A scan runs on what other programs leave of the processors (`SCHED_IDLE`). On a host that is busy throughout that may be nearly nothing, and the
//! connections of the program go unread meanwhile: after [`PATIENCE`] it goes on like every other thread.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never};
use qtap_capture::{Priority, ThreadId, set_priority};

use super::files::{Content, scan};
use crate::classify::ClassifyError;
use crate::identity::FileIdentity;
use crate::report::Implementations;

/// Files of this size take some 20 ms once they are in memory, and longer from a disk.
const LARGE: u64 = 16 << 20;
/// Scans that wait for their turn.
const MAX_JOBS: usize = 64;
/// How long a scan takes only what others leave.
const PATIENCE: Duration = Duration::from_secs(1);

/// A scanned file.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) file: File,
    pub(super) path: String,
    /// Of the file when the scan began.
    pub(super) identity: FileIdentity,
    pub(super) outcome: Result<Content, ClassifyError>,
}

#[derive(Debug)]
struct Job {
    file: File,
    path: String,
    identity: FileIdentity,
}

/// The thread that scans, and what it is at.
#[derive(Debug)]
pub(super) struct Scanner {
    jobs: Option<Sender<Job>>,
    results: Receiver<Scanned>,
    /// Since when which thread is at a scan in the background.
    current: Arc<Mutex<Option<(ThreadId, Instant)>>>,
}

impl Scanner {
    /// One that takes no files: they are scanned where they are met.
    pub(super) fn closed() -> Self {
        Self {
            jobs: None,
            results: never(),
            current: Arc::default(),
        }
    }

    /// One with a thread. It ends, after the scan that it is at, when this is dropped.
    pub(super) fn open(report: Implementations) -> Self {
        let (jobs, inbox) = bounded::<Job>(MAX_JOBS);
        let (outbox, results) = bounded(MAX_JOBS + 1);
        let current = Arc::new(Mutex::new(None));
        let shown = Arc::clone(&current);
        let worker = thread::Builder::new()
            .name("qtap-scanner".to_owned())
            .spawn(move || work(&inbox, &outbox, &shown, &report));
        if let Err(error) = worker {
            tracing::warn!(%error, "no thread to scan large files: they keep the tracker from its work");
            return Self::closed();
        }
        Self {
            jobs: Some(jobs),
            results,
            current,
        }
    }

    /// Whether a file is to be scanned here.
    pub(super) fn is_for(&self, identity: FileIdentity) -> bool {
        self.jobs.is_some() && identity.size >= LARGE
    }

    /// Has a file scanned. It comes back if too many wait.
    pub(super) fn submit(&self, file: File, path: &str, identity: FileIdentity) -> Result<(), File> {
        let Some(jobs) = &self.jobs else {
            return Err(file);
        };
        let job = Job {
            file,
            path: path.to_owned(),
            identity,
        };
        jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job.file,
        })
    }

    /// What was scanned.
    pub(super) fn results(&self) -> &Receiver<Scanned> {
        &self.results
    }

    /// Brings a scan that takes long out of the background; to be called now and then.
    pub(super) fn hurry(&self, now: Instant) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((thread, since)) = *current
            && now.saturating_duration_since(since) >= PATIENCE
        {
            *current = None;
            set(thread, Priority::Normal);
        }
    }
}

fn work(
    inbox: &Receiver<Job>,
    outbox: &Sender<Scanned>,
    shown: &Mutex<Option<(ThreadId, Instant)>>,
    report: &Implementations,
) {
    let thread = ThreadId::current();
    let show = |at| *shown.lock().unwrap_or_else(PoisonError::into_inner) = at;
    for Job { file, path, identity } in inbox {
        set(thread, Priority::Background);
        show(Some((thread, Instant::now())));
        let outcome = scan(&file, &path, report);
        // What is left to do here is short, and waited for.
        set(thread, Priority::Normal);
        show(None);
        let scanned = Scanned {
            file,
            path,
            identity,
            outcome,
        };
        if outbox.send(scanned).is_err() {
            return;
        }
    }
}

fn set(thread: ThreadId, priority: Priority) {
    if let Err(error) = set_priority(thread, priority) {
        tracing::debug!(%error, ?priority, "the scanner's priority stays");
    }
}
