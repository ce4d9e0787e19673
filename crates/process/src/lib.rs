//! Processes, users and containers: who is behind a connection.
//!
//! In: [`qtap_capture::ProcessEvent`]s and, once, a snapshot of `/proc`. Out: [`Process`] records, found by pid.
//! A record is made at fork (inherited from the parent) and replaced at exec; identity is pid and start time.
//! Nothing here runs on the event path: a [`Writer`] fills the table on its own thread, any thread looks up in it.
//!
//! Pids are those of the agent's own view of `/proc`, which must be the host's: an agent in a pid namespace of its
//! own (a container without the host's) gets events with pids that `/proc` does not show, and records stay at what
//! the events say.
//!
//! ```no_run
//! use qtap_capture::{Pid, ProcessEvent};
//! use qtap_process::{Limits, table};
//!
//! # fn next_event() -> Option<ProcessEvent> { None }
//! # fn main() -> Result<(), qtap_process::SnapshotError> {
//! let (processes, mut writer) = table(Limits::default(), &[]);
//! std::thread::spawn(move || processes.find(Pid(1)));
//! writer.snapshot()?; // after the hooks are live
//! while let Some(event) = next_event() {
//!     writer.handle(event);
//!     writer.tick();
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod accounts;
mod cgroup;
#[cfg(any(test, fuzzing))]
mod checks;
mod decide;
mod environment;
mod observer;
mod procfs;
mod record;
mod retention;
mod stats;
mod table;
mod writer;

/// Reads `input` in the place of what /proc and files of observed processes say, and checks what must hold; for the fuzz target.
#[cfg(fuzzing)]
pub fn check_parsers(input: &[u8]) {
    checks::run(input);
}

pub use decide::{Decision, IgnoreReason, Layers, decide, matches};
pub use record::{Container, Process, Strategy, User};
pub use retention::Limits;
pub use stats::Stats;
pub use table::Table;
pub use writer::{SnapshotError, Writer, table, table_at};
