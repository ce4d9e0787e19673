//! The agent's configuration in tests.

use std::fmt;

/// Everything this host sends and receives, whole, as JSON lines; fields narrow it.
#[derive(Clone, Debug)]
pub struct Config {
    /// `tap.direction`.
    pub direction: &'static str,
    /// `tap.ignore_loopback`.
    pub ignore_loopback: bool,
    /// `tap.limits`, as a flow mapping without its braces.
    pub limits: String,
    /// `tap.limits.cpu_percent`. By default so much that nothing is shed: a debug build on a busy machine is slow.
    pub cpu_percent: u32,
    /// `tap.tls.source`.
    pub tls_source: &'static str,
    /// `tap.tls.hold`.
    pub tls_hold: bool,
    /// `level` of `http_capture`.
    pub level: &'static str,
    /// More keys of `tap`, two spaces in.
    pub tap: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            direction: "all",
            ignore_loopback: false,
            limits: "body: 1mb".to_owned(),
            cpu_percent: 100_000,
            tls_source: "auto",
            tls_hold: false,
            level: "full",
            tap: String::new(),
        }
    }
}

impl Config {
    /// For `tap`: leaves out the connections of the test itself, so that asking the agent what it counts does not make it count more.
    #[must_use]
    pub fn without_this_test() -> String {
        let own = std::env::current_exe().expect("the path of the test");
        format!(
            "  filters: {{custom: [{{exe: \"{}\", strategy: exact}}]}}\n",
            own.display()
        )
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            direction,
            ignore_loopback,
            limits,
            cpu_percent,
            tls_source,
            tls_hold,
            level,
            tap,
        } = self;
        write!(
            f,
            "version: 2
services:
  event_stores:
    - type: stdout
  object_stores:
    - type: stdout
stacks:
  e2e:
    plugins:
      - type: http_capture
        config: {{level: {level}, format: json}}
      - type: report_usage
tap:
  direction: {direction}
  ignore_loopback: {ignore_loopback}
  limits: {{cpu_percent: {cpu_percent}, {limits}}}
  tls: {{source: {tls_source}, hold: {tls_hold}}}
  http: {{stack: e2e}}
{tap}"
        )
    }
}
