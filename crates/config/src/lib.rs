//! The configuration file: schema, checks with line and column, built-in default.
//!
//! In: YAML text. Out: a resolved [`Config`] in which every name has been checked, or [`Diagnostics`] that say where
//! each problem is, what is allowed there and what was probably meant. Types here are resolved settings: nothing
//! downstream reads YAML. What the schema knows but the agent cannot do yet is refused by name.
//!
//! ```
//! use qtap_config::{Config, Direction};
//!
//! let (config, warnings) = Config::parse("qtap.yaml", "{version: 2, tap: {direction: egress}}")?;
//! assert_eq!(config.tap.direction, Direction::Egress);
//! assert!(warnings.is_empty());
//! # Ok::<(), qtap_config::Diagnostics>(())
//! ```
//!
//! [`ConfigFile`] loads a file again when it changes. Decisions where the specification leaves room:
//!
//! * `tap.filters.custom[].strategy` is `suffix` if absent, and `exe` is compared without regard to case (capture.md
//!   §10); `regex` is taken as written. The user's rules come before those of groups.
//! * Keys at the top level that begin with `x-` are not looked at: they hold anchors.
//! * A missing `tap` observes nothing ([`Tap::nothing`]).
#![forbid(unsafe_code)]

mod check;
mod diagnostic;
mod file;
mod parse;
mod reader;
mod schema;
mod size;
mod suggest;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Problem, Severity};
pub use file::{ConfigFile, LoadError, load_file, load_reader};
pub use parse::MAX_FILE;
pub use schema::{
    AccessLogs, CaptureFormat, Config, CustomFilter, DATABASES, DatabaseDetail, Direction, Endpoint,
    EventStore, FilterLayer, FilterStrategy, Filters, HttpCapture, Level, Limits, LogFormat, MemorySearch,
    ObjectStore, Plugin, ProcessTag, ReportUsage, Services, Stack, StoreKind, Tap, TlsSource, Values,
};
pub use size::{MAX_SIZE, SizeError, parse_size};
pub use suggest::nearest;
