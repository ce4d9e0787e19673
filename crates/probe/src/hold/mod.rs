//! Holding programs that nobody has met until they are probed, so that the first connection of a short-lived one is not missed.
//!
//! The kernel asks before it executes a file (`FAN_OPEN_EXEC_PERM`, Linux 5.0): the program that executes it waits inside execve(2), before
//! anything of the new image runs, and is not stopped in the sense of signals, so that neither its parent nor a shell notices. A stop signal would be
//! noticed: a shell with job control takes a foreground program that is stopped for one that the user has suspended.
//!
//! Two processes, so that neither can leave a program waiting:
//!
//! * the [`Holder`] answers the kernel, a limit ([`LIMIT`] for the agent) after the question at the latest, whatever the agent does. If it dies, its group is closed and the
//!   kernel lets everything go (fanotify(7)). It does nothing else: it opens no file and never waits for anything.
//! * the agent looks into the file and probes it ([`crate::Expected`]), and answers the holder. It also looks after the holder: one that does not
//!   answer within two seconds is killed ([`HoldLink::is_overdue`]). When the agent dies, the holder ends, as nobody is at the other end of its socket.
//!
//! Files without TLS code are asked about once: the kernel is told not to ask again until they are written to.

mod holder;
mod link;
mod marks;
mod message;

use std::time::Duration;

pub use holder::Holder;
pub use link::{Answers, HoldLink, Question};
pub use message::Verdict;

/// Longest that a program waits for an agent that looks at the whole host.
pub const LIMIT: Duration = Duration::from_millis(50);
