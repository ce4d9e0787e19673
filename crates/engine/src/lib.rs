//! Connections: from the events of the kernel to transactions and a verdict on every capture.
//!
//! In: [`qtap_capture::Event`]s. Out, through a [`Consumer`]: whole [`Transaction`]s and [`ConnectionReport`]s with
//! their [`Health`]. Each connection lives on one worker, so nothing here takes a lock
//! but for calls whose connection the kernel cannot tell.
#![forbid(unsafe_code)]

mod account;
mod address;
mod application;
mod arrange;
mod assembler;
mod body;
mod calls;
mod commands;
mod connection;
mod consumer;
mod context;
mod crew;
mod dns;
mod early;
mod engine;
mod facts;
mod hash;
mod health;
mod host;
mod id;
mod lane;
mod load;
mod names;
mod pace;
mod queue;
mod quic;
mod reassembly;
mod remedy;
mod secrets;
mod settings;
mod stats;
mod streaming;
mod transaction;
mod tunnel;
mod unbound;
mod worker;

pub use account::survey::{Positions, Survey, Surveyor};
pub use account::{Account, Problem, ProcessKey, Reading};
pub use address::is_internal;
pub use commands::CommandTransaction;
pub use consumer::{Consumer, Interest};
pub use dns::DnsTransaction;
pub use engine::{Clock, Engine, StartError};
pub use facts::{ConnectionFacts, DirectionLabel, QuicFacts, TlsFacts, TlsSource, Transport};
pub use health::{Check, CheckName, CheckState, Health, HealthStatus, Reason, ReasonCode};
pub use host::{Exclusion, Host, KeyOutcome, MemorySearch, ProcessLookup, ProcessTls};
pub use id::IdSource;
pub use load::{Breaker, Load, LoadLevel, Mean, Step, Usage};
pub use names::Names;
pub use settings::{Budget, Settings, TlsMode};
pub use stats::{AllProtocols, Counter, Level, ProtocolStats, Stats};
pub use streaming::{EventStream, Messages, WebSocket};
pub use transaction::{Body, ConnectionReport, Half, Transaction};
pub use unbound::Unbound;
pub use worker::{Shared, Worker};
