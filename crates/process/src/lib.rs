//! Processes, users and containers: who is behind a connection.
//!
//! In: [`qtap_capture::ProcessEvent`]s and, once, a snapshot of `/proc`. Out: [`Process`] records, found by pid.
//! A record is made at fork (inherited from the parent) and replaced at exec; identity is pid and start time.
//! Nothing here runs on the event path: a table is filled by its own thread and read by lock-free look-ups.
#![forbid(unsafe_code)]

mod record;

pub use record::{Container, Process, Strategy, User};
