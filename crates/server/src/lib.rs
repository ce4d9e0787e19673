//! Health and metrics over HTTP.
//!
//! In: a [`State`] that the binary implements. Out: `/readyz`, `/healthz`, `/metrics` (what the traffic looks like)
//! and `/system/metrics` (what the agent itself counts), both in the OpenMetrics text format, and `/status` (how each process is
//! read), JSON. The server has one
//! thread of its own; no client can hold it: one request a connection, a bound on connections, and time limits on
//! the head and on the whole.
//!
//! ```
//! use std::sync::Arc;
//! use qtap_server::{Readiness, Samples, Server, State};
//!
//! struct Agent;
//!
//! impl State for Agent {
//!     fn readiness(&self) -> Readiness {
//!         Readiness::default().require(true, "probes are not attached")
//!     }
//!     fn samples(&self, out: &mut Samples) {
//!         out.counter("qtap_capture_lost_total", "Records lost", &[("reason", "ring_full")], 0);
//!     }
//! }
//!
//! # fn main() -> Result<(), qtap_server::Error> {
//! let server = Server::start(([127, 0, 0, 1], 0).into(), Arc::new(Agent))?;
//! println!("listening on {}", server.address());
//! server.stop()
//! # }
//! ```
#![forbid(unsafe_code)]

mod error;
mod routes;
mod samples;
mod server;
mod state;

pub use error::Error;
pub use samples::Samples;
pub use server::Server;
pub use state::{Readiness, State};
