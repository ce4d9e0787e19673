//! Connections: from the events of the kernel to transactions and a verdict on every capture.
//!
//! In: [`qtap_capture::Event`]s. Out, through a [`Consumer`]: whole [`Transaction`]s and [`ConnectionReport`]s with
//! their [`Health`]. Each connection lives on one worker, so nothing here takes a lock.
#![forbid(unsafe_code)]

mod consumer;
mod facts;
mod health;
mod transaction;

pub use consumer::{Consumer, Interest};
pub use facts::{ConnectionFacts, DirectionLabel, TlsFacts, TlsSource};
pub use health::{Check, CheckName, CheckState, Health, HealthStatus, Reason, ReasonCode};
pub use transaction::{Body, ConnectionReport, Half, Transaction};
