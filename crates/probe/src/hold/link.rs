//! The agent's end of the socket.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use qtap_capture::Pid;

use super::message::{ALIVE, Answer, Asked, EXPIRED, Records, Verdict};

/// How often the holder is asked for a sign of life.
const PULSE: Duration = Duration::from_millis(500);
/// A holder that gives none for so long is not well.
const PATIENCE: Duration = Duration::from_secs(2);

/// A program that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// To be given back with the answer.
    pub number: u64,
    /// Who executes it.
    pub pid: Pid,
    /// The file, open in the holder for as long as the program waits.
    pub file: PathBuf,
}

/// Hears what the holder asks, and sees whether it is alive.
#[derive(Debug)]
pub struct HoldLink {
    stream: UnixStream,
    holder: u32,
    records: Records,
    expired: u64,
    has_begun: bool,
    /// Questions that came while it began.
    early: Vec<Question>,
    next_pulse: Instant,
    last_sign: Instant,
}

impl HoldLink {
    /// A link to the holder with that pid. It begins to hold when it hears of the agent first, in [`Self::begin`].
    ///
    /// # Errors
    /// What the system says of the socket.
    pub fn new(stream: UnixStream, holder: u32) -> io::Result<Self> {
        stream.set_read_timeout(Some(PULSE))?;
        // A holder that is stopped does not stop the agent.
        stream.set_write_timeout(Some(PULSE))?;
        Ok(Self {
            stream,
            holder,
            records: Records::default(),
            expired: 0,
            has_begun: false,
            early: Vec::new(),
            next_pulse: Instant::now(),
            last_sign: Instant::now(),
        })
    }

    /// Another end to give answers at.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn answers(&self) -> io::Result<Answers> {
        Ok(Answers(self.stream.try_clone()?))
    }

    /// Waits until the holder holds, `patience` at most. Tells whether it does.
    pub fn begin(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !self.has_begun {
            match self.poll() {
                Some(questions) => self.early.extend(questions),
                None => return false,
            }
        }
        self.has_begun
    }

    /// Waits half a second at most for questions. `None`: the holder is gone.
    pub fn poll(&mut self) -> Option<Vec<Question>> {
        let now = Instant::now();
        if now >= self.next_pulse {
            self.next_pulse = now + PULSE;
            let alive = Answer {
                number: ALIVE,
                verdict: Verdict::Go,
            };
            (&self.stream).write_all(&alive.encode()).ok()?;
        }
        if !self.records.read(&self.stream).ok()? {
            return None;
        }
        let mut questions = std::mem::take(&mut self.early);
        while let Some(asked) = self.records.next().map(Asked::decode) {
            self.last_sign = Instant::now();
            if asked.number == ALIVE {
                self.has_begun = true;
                continue;
            }
            if asked.descriptor == EXPIRED {
                self.expired += 1;
                continue;
            }
            questions.push(Question {
                number: asked.number,
                pid: Pid(asked.pid),
                file: PathBuf::from(format!("/proc/{}/fd/{}", self.holder, asked.descriptor)),
            });
        }
        Some(questions)
    }

    /// Whether the holder has given no sign of life for two seconds: it is stopped, or hangs, and programs may wait for it.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.last_sign.elapsed() > PATIENCE
    }

    /// Programs that were let go because their time was over, since the last call.
    pub fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.expired)
    }
}

/// Where answers go.
#[derive(Debug)]
pub struct Answers(UnixStream);

impl Answers {
    /// Lets the program of question `number` go.
    ///
    /// # Errors
    /// The holder is gone, and with it the question.
    pub fn give(&self, number: u64, verdict: Verdict) -> io::Result<()> {
        (&self.0).write_all(&Answer { number, verdict }.encode())
    }
}
