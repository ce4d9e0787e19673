//! Text to [`Config`].

use std::collections::BTreeMap;

use crate::check;
use crate::diagnostic::{Diagnostic, Diagnostics, Problem};
use crate::reader::Checker;
use crate::schema::{
    AccessLogs, Config, DATABASES, Direction, EventStore, Filters, Level, Limits, LogFormat, MemorySearch,
    ObjectStore, Plugin, Services, Stack, StoreKind, Tap, TlsSource,
};
use crate::yaml::{self, Span};

/// Largest file read. A large one of thousands of endpoints is some hundred kilobytes.
pub const MAX_FILE: usize = 1 << 20;

/// Name of the built-in configuration's only stack.
const DEFAULT_STACK: &str = "basic_reporting";

impl Config {
    /// Reads and checks a configuration. `name` is the file's name as messages show it.
    ///
    /// With the configuration come its warnings, which may be none.
    ///
    /// ```
    /// let error = qtap_config::Config::parse("qtap.yaml", "version: 2\ntap: {directon: all}\n").unwrap_err();
    /// let first = error.iter().next().unwrap();
    /// assert_eq!((first.line, first.column), (2, 7));
    /// assert_eq!(first.suggestion.as_deref(), Some("direction"));
    /// ```
    ///
    /// # Errors
    /// All problems of the file, the warnings among them, if one is an error.
    pub fn parse(name: &str, text: &str) -> Result<(Self, Diagnostics), Diagnostics> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_FILE {
            let message = format!("the file has {} bytes, at most {MAX_FILE} are read", text.len());
            return Err(Diagnostics::new(
                name,
                "",
                vec![whole_file(Problem::TooLarge, message)],
            ));
        }
        let mut checker = Checker::default();
        let config = match yaml::compose(text) {
            Ok(root) => Some(check::document(&mut checker, root.as_deref())),
            Err(fault) => {
                let problem = if fault.too_large {
                    Problem::TooLarge
                } else {
                    Problem::Syntax
                };
                checker.report(problem, &fault.span, "", fault.message);
                None
            }
        };
        let diagnostics = Diagnostics::new(name, text, checker.into_found());
        match config {
            Some(config) if !diagnostics.has_errors() => Ok((config, diagnostics)),
            _ => Err(diagnostics),
        }
    }

    /// The configuration of an agent that is started without one: everything this host sends and receives, loopback
    /// too, as the access log at level full. Equal to [`default_yaml`](Self::default_yaml), parsed.
    pub fn built_in() -> Self {
        let access_logs = AccessLogs {
            mode: Level::Full,
            format: LogFormat::Auto,
        };
        let stack = Stack {
            plugins: vec![Plugin::AccessLogs(access_logs)],
        };
        Self {
            services: Services {
                event_stores: vec![EventStore {
                    id: None,
                    kind: StoreKind::Stdout,
                }],
                object_stores: vec![ObjectStore {
                    id: None,
                    kind: StoreKind::Disabled,
                    event_store: Some(0),
                }],
            },
            stacks: BTreeMap::from([(DEFAULT_STACK.to_owned(), stack)]),
            tap: Tap {
                direction: Direction::All,
                ignore_loopback: false,
                audit_include_dns: false,
                http: Some(DEFAULT_STACK.to_owned()),
                grpc: None,
                databases: DATABASES
                    .iter()
                    .map(|name| (*name, DEFAULT_STACK.to_owned()))
                    .collect(),
                database_detail: BTreeMap::new(),
                filters: Filters::default(),
                endpoints: Vec::new(),
                tls_source: TlsSource::Auto,
                tls_memory_search: MemorySearch::Auto,
                tls_hold: false,
                limits: Limits::default(),
            },
            tags: Vec::new(),
        }
    }

    /// The built-in configuration as a file to start from.
    pub fn default_yaml() -> &'static str {
        include_str!("default.yaml")
    }
}

/// A problem of the file as a whole.
fn whole_file(problem: Problem, message: String) -> Diagnostic {
    let start = Span {
        line: 1,
        column: 1,
        bytes: 0..0,
    };
    Diagnostic::new(problem, &start, "", message)
}
