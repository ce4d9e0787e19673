//! The configuration file: schema, checks with line and column, built-in default.
//!
//! In: YAML text. Out: a resolved [`Config`] in which every name has been checked, or diagnostics that say where
//! and what to do. Types here are resolved settings: nothing downstream reads YAML.
#![forbid(unsafe_code)]

mod schema;

pub use schema::{
    AccessLogs, CaptureFormat, Config, CustomFilter, Direction, Endpoint, EventStore, FilterLayer,
    FilterStrategy, Filters, HttpCapture, Level, Limits, LogFormat, ObjectStore, Plugin, ProcessTag,
    ReportUsage, Services, Stack, StoreKind, Tap, TlsSource,
};
