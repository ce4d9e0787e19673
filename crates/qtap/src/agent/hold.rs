//! Programs that are new wait until they are probed (`tap.tls.hold`, `qtap check`): the process that holds them, and the thread that answers it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{Sender, TrySendError};
use qtap_capture::Pid;
use qtap_engine::Counter;
use qtap_probe::{Admitted, Answers, Expected, HoldLink, Holder, Question, Verdict};

use super::{Scope, freezer};
use crate::logging::LogSettings;
use crate::privileges::{Confinement, Role};

/// Name of the hidden sub-command.
pub(crate) const SUB_COMMAND: &str = "hold-programs";
/// What the holder gets to begin.
const BEGIN_WAIT: Duration = Duration::from_secs(2);
/// What the holder gets to end once its agent is gone.
const END_WAIT: Duration = Duration::from_millis(500);
/// Generations that are followed up to find whose child a process is.
const MAX_ANCESTORS: usize = 64;

/// What became of the programs that waited.
#[derive(Debug, Default)]
pub(crate) struct HoldCounters {
    /// They were probed in time.
    pub(crate) probed: Counter,
    /// They have no TLS code.
    pub(crate) plain: Counter,
    /// They could not be looked into.
    pub(crate) failed: Counter,
    /// They were let go because their time was over.
    pub(crate) expired: Counter,
}

/// The process that holds programs. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct HoldProcess {
    child: Child,
    stream: UnixStream,
}

impl HoldProcess {
    /// Starts it; to be called before privileges are dropped. Nothing is held yet, and no program will be for longer than `limit`.
    ///
    /// # Errors
    /// When the system refuses a process.
    pub(crate) fn start(log: LogSettings, limit: Duration) -> anyhow::Result<Self> {
        let (own, other) = UnixStream::pair().context("cannot make a socket")?;
        let mut command = Command::new("/proc/self/exe");
        command
            .args([SUB_COMMAND, "--agent", &std::process::id().to_string()])
            .args(["--limit", &format!("{}ms", limit.as_millis())])
            .args(["--log-level", log.level.name()])
            .args(
                log.encoding
                    .iter()
                    .flat_map(|encoding| ["--log-encoding", encoding.name()]),
            )
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(other)))
            .stdout(Stdio::null())
            // A terminal's stop signal is for the agent; this goes on answering.
            .process_group(0);
        let child = command
            .spawn()
            .context("cannot start the process that holds programs")?;
        Ok(Self { child, stream: own })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// The sub-command: holds programs for the agent at the other end of standard input, until that is gone.
///
/// # Errors
/// When the kernel does not ask before it executes a file. Nothing is held then.
pub(crate) fn hold_programs(agent: u32, limit: Duration) -> anyhow::Result<ExitCode> {
    if let Err(reason) = freezer::leave() {
        let reason = format!("{:#}", anyhow::Error::from(reason));
        tracing::warn!(
            %reason,
            "the process that holds programs can be frozen with the agent's control group: programs that are new wait until it is thawed"
        );
    }
    let confinement = Confinement::begin(Role::Holder, false);
    let socket = io::stdin()
        .lock()
        .as_fd()
        .try_clone_to_owned()
        .context("standard input is closed")?;
    let holder = Holder::new(UnixStream::from(socket), agent, limit).context(
        "programs are not held: the kernel does not ask before it executes a file (fanotify permission events), or CAP_SYS_ADMIN is missing",
    )?;
    confinement.finish();
    holder.run().context("programs are not held any more")?;
    Ok(ExitCode::SUCCESS)
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Hold {
    stop: Arc<AtomicBool>,
    /// To wake it.
    stream: UnixStream,
    thread: JoinHandle<()>,
}

impl Hold {
    /// Begins to hold programs of `scope`.
    pub(super) fn start(
        process: HoldProcess,
        scope: Scope,
        expected: Sender<Expected>,
        counters: Arc<HoldCounters>,
    ) -> anyhow::Result<Self> {
        let HoldProcess { child, stream } = process;
        let mut link = HoldLink::new(stream.try_clone()?, child.id())?;
        if !link.begin(BEGIN_WAIT) {
            tracing::warn!("programs are not held: the process that holds them does not begin");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let questions = Questions {
            answers: Arc::new(link.answers()?),
            child,
            scope,
            expected,
            counters,
            stop: Arc::clone(&stop),
        };
        let thread = super::spawn("qtap-hold", move || questions.serve(link))?;
        Ok(Self { stop, stream, thread })
    }

    /// Lets go of everybody who waits, and holds nobody any more.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if let Err(error) = self.stream.shutdown(std::net::Shutdown::Both) {
            tracing::debug!(%error, "the process that holds programs is gone already");
        }
        if self.thread.join().is_err() {
            tracing::error!("the thread that answers for held programs ended by a panic");
        }
    }
}

struct Questions {
    answers: Arc<Answers>,
    child: Child,
    scope: Scope,
    expected: Sender<Expected>,
    counters: Arc<HoldCounters>,
    stop: Arc<AtomicBool>,
}

impl Questions {
    fn serve(self, mut link: HoldLink) {
        while !self.stop.load(Ordering::Acquire) {
            let Some(questions) = link.poll() else {
                break;
            };
            for question in questions {
                self.answer(question);
            }
            self.counters.expired.add(link.take_expired());
            if link.is_overdue() {
                tracing::warn!(
                    "the process that holds programs does not answer: it is ended, and programs are not held any more"
                );
                break;
            }
        }
        let is_asked = self.stop.load(Ordering::Acquire);
        drop(link);
        if !is_asked {
            tracing::warn!("programs are not held any more: one that is new may be over before it is probed");
        }
        self.end();
    }

    fn answer(&self, question: Question) {
        let Question { number, pid, file } = question;
        let answers = Arc::clone(&self.answers);
        if !covers(&self.scope, pid) {
            // The others of this host are no business of a check; whose child asks next is not known.
            give(&answers, number, Verdict::Go);
            return;
        }
        let counters = Arc::clone(&self.counters);
        let done = move |admitted| {
            let (counter, verdict) = match admitted {
                Admitted::Nothing => (&counters.plain, Verdict::GoAlways),
                Admitted::Probed => (&counters.probed, Verdict::Go),
                Admitted::Failed => (&counters.failed, Verdict::Go),
            };
            counter.add(1);
            give(&answers, number, verdict);
        };
        let expected = Expected {
            file,
            done: Box::new(done),
        };
        if let Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) =
            self.expected.try_send(expected)
        {
            (refused.done)(Admitted::Failed);
        }
    }

    /// It ends by itself when the last end of its socket is closed; one that does not is stopped, or hangs.
    fn end(mut self) {
        drop(self.answers);
        let until = Instant::now() + END_WAIT;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        // The kernel then lets everybody go.
        if let Err(error) = self.child.kill() {
            tracing::error!(%error, pid = self.child.id(), "the process that holds programs cannot be ended");
        }
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "its end is not seen");
        }
    }
}

fn give(answers: &Answers, number: u64, verdict: Verdict) {
    // Without a holder nobody waits.
    if let Err(error) = answers.give(number, verdict) {
        tracing::debug!(%error, "nobody takes the answer");
    }
}

/// Whether a process is in the scope, or below one that is: its fork may not be told yet.
fn covers(scope: &Scope, pid: Pid) -> bool {
    let mut pid = pid;
    for _ in 0..MAX_ANCESTORS {
        if scope.contains(pid) {
            return true;
        }
        match parent(pid) {
            Some(Pid(0)) | None => return false,
            Some(parent) => pid = parent,
        }
    }
    false
}

/// proc(5): field 4 of stat, counted from behind the name in parentheses.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.0)).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
        .map(Pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_covered_by_its_parents_scope() {
        let own = Pid(std::process::id());
        let mut child = Command::new("sleep").arg("10").spawn().unwrap();
        assert!(covers(&Scope::family(own), Pid(child.id())));
        assert!(!covers(&Scope::family(Pid(child.id())), own));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
