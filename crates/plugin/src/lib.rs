//! Plugins: from finished transactions to access logs, artifacts and events.
//!
//! In: whole [`qtap_engine::Transaction`]s and [`qtap_engine::ConnectionReport`]s, through [`Stacks`], which implements
//! [`qtap_engine::Consumer`] for one worker. Out: [`schema::Event`]s to an [`EventStore`], [`schema::Artifact`]s to an
//! [`ObjectStore`], and lines for people to a [`LineSink`].
//!
//! ```no_run
//! # fn start(config: &qtap_config::Config, context: &qtap_plugin::Context) -> Result<(), qtap_plugin::BuildError> {
//! use qtap_plugin::{Deployment, Generation, Stacks};
//!
//! let metrics = std::sync::Arc::default();
//! let deployment = Deployment::new(Generation::new(config, context, &metrics)?);
//! let _one_worker = Stacks::new(deployment.clone());
//! // On reload: transactions in flight end under the former generation.
//! deployment.replace(Generation::new(config, context, &metrics)?);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod access_logs;
mod agent;
mod command_exchange;
mod exchange;
mod http_capture;
pub mod json;
mod meter;
pub mod mime;
mod plugin;
mod registry;
mod report_usage;
mod reporter;
mod rpc;
pub mod schema;
mod sink;
mod stacks;
#[cfg(test)]
mod testing;
mod unsafe_text;

pub use access_logs::Terminal;
pub use agent::{Agent, NoRandomness};
pub use command_exchange::CommandExchange;
pub use exchange::Exchange;
pub use meter::{CALL_BUDGET, Metrics, PluginCounters};
pub use plugin::{Context, Plugin};
pub use sink::{Discard, EventStore, LineSink, ObjectStore, Stores};
pub use stacks::{BuildError, Deployment, Generation, Stacks};
