//! The process that answers the kernel.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::fanotify::{FanotifyEvent, FanotifyResponse, Response};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::marks::Marks;
use super::message::{ALIVE, Answer, Asked, EXPIRED, Records, Verdict};

/// Programs that wait at the same time; further ones are let go at once.
const MAX_WAITING: usize = 256;
/// An agent that was not heard for so long is stopped or busy: programs are let go at once until it is heard again.
const DEAF: Duration = Duration::from_millis(1500);

/// Holds programs until the agent has probed them, for a limited time.
#[derive(Debug)]
pub struct Holder {
    agent: UnixStream,
    agent_pid: u32,
    limit: Duration,
    marks: Marks,
    /// Programs that wait, by number, which is their order.
    waiting: BTreeMap<u64, Waiting>,
    last_number: u64,
    last_heard: Instant,
}

#[derive(Debug)]
struct Waiting {
    event: FanotifyEvent,
    due: Instant,
}

impl Holder {
    /// A holder that talks to the agent `agent_pid` over `agent`, and has no program wait longer than `limit`. Nothing is held yet.
    ///
    /// # Errors
    /// The kernel has no such questions (`CONFIG_FANOTIFY_ACCESS_PERMISSIONS`), or wants `CAP_SYS_ADMIN`.
    pub fn new(agent: UnixStream, agent_pid: u32, limit: Duration) -> io::Result<Self> {
        agent.set_nonblocking(true)?;
        Ok(Self {
            agent,
            agent_pid,
            limit,
            marks: Marks::new()?,
            waiting: BTreeMap::new(),
            last_number: ALIVE,
            last_heard: Instant::now(),
        })
    }

    /// Waits for the agent's first sign of life, then holds until the agent is gone.
    ///
    /// # Errors
    /// What the kernel said. Whoever waits is let go by it when this process ends.
    pub fn run(mut self) -> io::Result<()> {
        let mut records = Records::default();
        let mut begun = false;
        loop {
            let ready = self.wait()?;
            if ready.agent {
                if !records.read(&self.agent)? {
                    return Ok(());
                }
                self.last_heard = Instant::now();
                while let Some(record) = records.next() {
                    let answer = Answer::decode(record);
                    if answer.number != ALIVE {
                        self.answered(answer);
                        continue;
                    }
                    if !begun {
                        begun = true;
                        let file_systems = self.marks.look_at_mounts()?;
                        tracing::info!(
                            file_systems,
                            "programs that are new are held until they are probed"
                        );
                    }
                    self.tell(Asked {
                        number: ALIVE,
                        pid: 0,
                        descriptor: 0,
                    });
                }
            }
            if ready.questions {
                self.take_questions()?;
            }
            self.let_overdue_go(Instant::now());
            if ready.mounts && begun {
                self.marks.look_at_mounts()?;
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let due = self.waiting.values().next().map(|first| first.due);
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        // A little late rather than a little early, which would go round and round.
        let timeout = timeout.map(|timeout| timespec(timeout + Duration::from_micros(100)));
        let mounts = self.marks.mounts();
        let mut polled = [
            PollFd::new(&self.agent, PollFlags::IN),
            PollFd::new(self.marks.group(), PollFlags::IN),
            PollFd::new(&mounts, PollFlags::PRI),
        ];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [agent, questions, mounts] = polled.map(|polled| !polled.revents().is_empty());
        Ok(Ready {
            agent,
            questions,
            mounts,
        })
    }

    fn take_questions(&mut self) -> io::Result<()> {
        loop {
            let events = match self.marks.group().read_events() {
                Ok(events) => events,
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for event in events {
                self.ask(event);
            }
        }
    }

    /// Asks the agent, unless that leads to nothing.
    fn ask(&mut self, event: FanotifyEvent) {
        use std::os::fd::AsRawFd;
        let (Some(descriptor), Ok(pid)) = (event.fd().map(|fd| fd.as_raw_fd()), u32::try_from(event.pid()))
        else {
            return;
        };
        let is_own = pid == self.agent_pid || pid == std::process::id();
        self.last_number += 1;
        let number = self.last_number;
        let asked = Asked {
            number,
            pid,
            descriptor,
        };
        let is_vain = self.waiting.len() >= MAX_WAITING || self.last_heard.elapsed() > DEAF;
        if is_own || is_vain || !self.tell(asked) {
            self.let_go(&event);
            return;
        }
        let due = Instant::now() + self.limit;
        self.waiting.insert(number, Waiting { event, due });
    }

    fn answered(&mut self, answer: Answer) {
        // It may have waited too long for this.
        let Some(waiting) = self.waiting.remove(&answer.number) else {
            return;
        };
        self.let_go(&waiting.event);
        if answer.verdict == Verdict::GoAlways
            && let Some(file) = waiting.event.fd()
        {
            self.marks.settle(file);
        }
    }

    fn let_overdue_go(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.get().due <= now
        {
            let (number, waiting) = first.remove_entry();
            self.let_go(&waiting.event);
            self.tell(Asked {
                number,
                pid: 0,
                descriptor: EXPIRED,
            });
        }
    }

    fn let_go(&self, event: &FanotifyEvent) {
        let Some(file) = event.fd() else {
            return;
        };
        match self
            .marks
            .group()
            .write_response(FanotifyResponse::new(file.as_fd(), Response::FAN_ALLOW))
        {
            // Who waited was killed.
            Ok(()) | Err(nix::errno::Errno::ENOENT) => {}
            Err(error) => tracing::warn!(%error, "cannot let a program go"),
        }
    }

    /// Whether the agent will hear it: one that does not read is not waited for.
    fn tell(&mut self, asked: Asked) -> bool {
        // A stream socket takes 16 bytes whole or not at all unless its buffer is nearly full; a part would put all that follows out of step.
        match (&self.agent).write(&asked.encode()) {
            Ok(written) if written == asked.encode().len() => true,
            Ok(_) => {
                tracing::warn!("the agent does not listen: it is left alone");
                // Reads the end next, and ends.
                let _ = self.agent.shutdown(std::net::Shutdown::Both);
                false
            }
            Err(_) => false,
        }
    }
}

struct Ready {
    agent: bool,
    questions: bool,
    mounts: bool,
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
