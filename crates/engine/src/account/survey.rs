//! Asking all workers for the accounts of their processes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use qtap_capture::ConnectionId;

use super::{Account, ProcessKey};

/// Questions that may wait for one worker.
const QUESTIONS: usize = 4;

/// Bytes that calls moved on each connection by the kernel side's count: sent, received.
pub type Positions = HashMap<ConnectionId, [u64; 2]>;

/// A question to one worker.
pub(crate) struct Question {
    pub(crate) positions: Arc<Positions>,
    pub(crate) answer: Sender<Survey>,
}

/// Where one worker is asked.
pub(crate) fn inbox() -> (Sender<Question>, Receiver<Question>) {
    bounded(QUESTIONS)
}

/// The processes of one worker, or of all.
#[derive(Debug, Default)]
pub struct Survey {
    /// Accounts by process.
    pub accounts: HashMap<ProcessKey, Account>,
    /// Connections that ended lately and are in no account, for want of room.
    pub left_out: u64,
    /// Workers that did not answer in time; their connections are missing.
    pub silent_workers: u64,
}

impl Survey {
    fn merge(&mut self, other: Self) {
        self.left_out += other.left_out;
        self.silent_workers += other.silent_workers;
        for (key, account) in other.accounts {
            self.accounts.entry(key).or_default().merge(&account);
        }
    }
}

/// Asks the workers. Cheap to clone; it outlives the engine, whose workers are silent then.
#[derive(Clone)]
pub struct Surveyor {
    workers: Vec<Sender<Question>>,
}

impl Surveyor {
    pub(crate) fn new(workers: Vec<Sender<Question>>) -> Self {
        Self { workers }
    }

    /// The accounts now; each worker answers between two batches of events, an idle one within 250 ms. Costs a worker some
    /// microseconds for each open connection.
    #[must_use]
    pub fn survey(&self, positions: Positions, patience: Duration) -> Survey {
        let positions = Arc::new(positions);
        let until = Instant::now() + patience;
        let (answer, answers) = bounded(self.workers.len().max(1));
        let mut survey = Survey::default();
        let mut asked = 0;
        for worker in &self.workers {
            let question = Question {
                positions: Arc::clone(&positions),
                answer: answer.clone(),
            };
            match worker.try_send(question) {
                Ok(()) => asked += 1,
                Err(_) => survey.silent_workers += 1,
            }
        }
        for _ in 0..asked {
            match answers.recv_deadline(until) {
                Ok(answer) => survey.merge(answer),
                Err(_) => survey.silent_workers += 1,
            }
        }
        survey
    }
}

impl std::fmt::Debug for Surveyor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surveyor")
            .field("workers", &self.workers.len())
            .finish()
    }
}
