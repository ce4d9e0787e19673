//! Resolved settings (`surface.md` §2).

use std::collections::BTreeMap;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Stores.
    pub services: Services,
    /// Stacks by name.
    pub stacks: BTreeMap<String, Stack>,
    /// What is captured.
    pub tap: Tap,
    /// Tags taken from the environment of processes.
    pub tags: Vec<ProcessTag>,
}

/// `services`. The first store of each list is the default; a file without stores gets one `Disabled` store in each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Services {
    /// Event stores.
    pub event_stores: Vec<EventStore>,
    /// Object stores.
    pub object_stores: Vec<ObjectStore>,
}

/// What a store does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// JSON lines on standard output.
    Stdout,
    /// Nothing.
    Disabled,
}

/// One event store.
#[derive(Clone, Debug, PartialEq)]
pub struct EventStore {
    /// `id`.
    pub id: Option<String>,
    /// `type`.
    pub kind: StoreKind,
}

/// One object store.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectStore {
    /// `id`.
    pub id: Option<String>,
    /// `type`.
    pub kind: StoreKind,
    /// Index into [`Services::event_stores`] of the store for its artifact records; `None` = disabled.
    pub event_store: Option<usize>,
}

/// A named list of plugins, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// The plugins.
    pub plugins: Vec<Plugin>,
}

/// A plugin with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Plugin {
    /// `access_logs`, and `debug`, which is the same with console as default format.
    AccessLogs(AccessLogs),
    /// `http_capture`.
    HttpCapture(HttpCapture),
    /// `report_usage`.
    ReportUsage(ReportUsage),
}

/// How much is shown or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    None,
    /// Method, URL, status, duration.
    Summary,
    /// And headers (`headers`, `details`).
    Headers,
    /// And bodies.
    Full,
}

/// `format` of `access_logs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON lines.
    Json,
    /// For people.
    Console,
    /// Console on a terminal, JSON lines when piped: the built-in default's choice.
    Auto,
}

/// `format` of `http_capture`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureFormat {
    /// JSON.
    Json,
    /// Text.
    Text,
}

/// `access_logs`.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogs {
    /// `mode`, default summary.
    pub mode: Level,
    /// `format`, default JSON.
    pub format: LogFormat,
}

/// `http_capture`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCapture {
    /// `level`, default none.
    pub level: Level,
    /// `format`, default JSON.
    pub format: CaptureFormat,
    /// Index into [`Services::object_stores`]; `None` = disabled.
    pub object_store: Option<usize>,
}

/// `report_usage`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportUsage {
    /// Header names copied into the event.
    pub headers: Vec<String>,
}

/// Protocols of databases and queues that can have a stack: keys of `tap` and of its endpoints.
pub const DATABASES: &[&str] = &["redis", "postgres", "mysql", "kafka"];

/// What is shown of the commands of a database or queue: keys beside its stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseDetail {
    /// `values`.
    pub values: Values,
    /// `parameters`: values that prepared statements are run with (PostgreSQL, MySQL).
    pub parameters: bool,
    /// `split_statements`: a string of several statements is one command for each (PostgreSQL).
    pub split_statements: bool,
}

/// `values` of a database or queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// Nothing of what is stored.
    None,
    /// Keys (Redis, Kafka).
    Keys,
    /// All.
    #[default]
    Full,
}

/// `tap.direction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both roles.
    #[default]
    All,
    /// Accepted connections.
    Ingress,
    /// Dialled connections.
    Egress,
    /// Dialled, peer private, link-local or loopback.
    EgressInternal,
    /// Dialled, any other peer.
    EgressExternal,
}

/// `tap`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tap {
    /// Which connections.
    pub direction: Direction,
    /// Leave out connections to loopback addresses.
    pub ignore_loopback: bool,
    /// DNS traffic is reported too.
    pub audit_include_dns: bool,
    /// Stack for HTTP; `None` = payload is not parsed.
    pub http: Option<String>,
    /// Stack for calls of gRPC: `Some(None)` = `none`, `None` = they use that of HTTP.
    pub grpc: Option<Option<String>>,
    /// Stacks for databases and queues by protocol, a name of [`DATABASES`]; without one payload is not parsed.
    pub databases: BTreeMap<&'static str, String>,
    /// What is shown of their commands, where it is not the default.
    pub database_detail: BTreeMap<&'static str, DatabaseDetail>,
    /// Processes left out.
    pub filters: Filters,
    /// Overrides per domain.
    pub endpoints: Vec<Endpoint>,
    /// Which source of plaintext.
    pub tls_source: TlsSource,
    /// Whether the memory of processes may be searched for secrets.
    pub tls_memory_search: MemorySearch,
    /// `tap.tls.hold`: programs that are new wait until they are probed.
    pub tls_hold: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Tap {
    /// What a file without `tap` asks for: every process is left out.
    pub fn nothing() -> Self {
        let everything = CustomFilter {
            exe: FilterStrategy::Contains(String::new()),
            only: Vec::new(),
        };
        Self {
            filters: Filters {
                rules: vec![everything],
            },
            ..Self::default()
        }
    }
}

impl Filters {
    /// The first rule that an executable's path matches.
    pub fn find(&self, exe: &str) -> Option<&CustomFilter> {
        self.rules.iter().find(|rule| rule.exe.matches(exe))
    }
}

/// `tap.tls.source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsSource {
    /// Secrets for connections whose handshake was seen, calls for the rest.
    #[default]
    Auto,
    /// Calls only.
    Calls,
    /// Secrets only.
    Secrets,
}

/// `tap.tls.memory_search`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemorySearch {
    /// Where nothing else reads a connection.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// `tap.limits` (DESIGN §5). Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Data ring; a power of two of pages, rounded up.
    pub data_ring: u64,
    /// Control ring.
    pub control_ring: u64,
    /// Budget of the process for captured payload.
    pub memory: u64,
    /// Bytes kept of each body.
    pub body: u64,
    /// Bytes captured of one system call.
    pub call: u64,
    /// Percent of one CPU above which the agent sheds load.
    pub cpu_percent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            data_ring: 16 << 20,
            control_ring: 1 << 20,
            memory: 256 << 20,
            body: 1 << 20,
            call: 1 << 20,
            cpu_percent: 100,
        }
    }
}

/// One entry of `tap.endpoints`.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Exact host name, or `*.example.com`; lower case.
    pub domain: String,
    /// Stack for HTTP: `Some(None)` = `none`, `None` = not overridden.
    pub http: Option<Option<String>>,
    /// The same for calls of gRPC, which this entry's `http` does not decide where `tap.grpc` does.
    pub grpc: Option<Option<String>>,
    /// The same for databases and queues, by protocol.
    pub databases: BTreeMap<&'static str, Option<String>>,
}

/// Layers of `only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterLayer {
    /// Payload.
    Data,
    /// DNS.
    Dns,
    /// TLS.
    Tls,
    /// HTTP.
    Http,
}

/// How `exe` is compared: [`matches`](Self::matches). `Suffix` if the file does not say.
#[derive(Clone, Debug)]
pub enum FilterStrategy {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Ends with.
    Suffix(String),
    /// Holds.
    Contains(String),
    /// Matches somewhere.
    Regex(regex::Regex),
}

impl FilterStrategy {
    /// Whether an executable's path is meant. Letters are compared without regard to case, but by `Regex` as written.
    pub fn matches(&self, exe: &str) -> bool {
        let exe_bytes = exe.as_bytes();
        match self {
            Self::Exact(text) => exe.eq_ignore_ascii_case(text),
            Self::Prefix(text) => exe_bytes
                .get(..text.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(text.as_bytes())),
            Self::Suffix(text) => {
                let start = exe_bytes.len().checked_sub(text.len());
                let tail = start.and_then(|start| exe_bytes.get(start..));
                tail.is_some_and(|tail| tail.eq_ignore_ascii_case(text.as_bytes()))
            }
            Self::Contains(text) if text.is_empty() => true,
            Self::Contains(text) => exe_bytes
                .windows(text.len())
                .any(|part| part.eq_ignore_ascii_case(text.as_bytes())),
            Self::Regex(regex) => regex.is_match(exe),
        }
    }
}

impl PartialEq for FilterStrategy {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b))
            | (Self::Prefix(a), Self::Prefix(b))
            | (Self::Suffix(a), Self::Suffix(b))
            | (Self::Contains(a), Self::Contains(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// One filter: of `custom`, or a member of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomFilter {
    /// What the executable's path is compared with.
    pub exe: FilterStrategy,
    /// Layers left out; empty = the whole process.
    pub only: Vec<FilterLayer>,
}

/// `tap.filters`: groups are already expanded. The first match wins; the agent itself is always left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    /// In order.
    pub rules: Vec<CustomFilter>,
}

/// One entry of `tags`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTag {
    /// Tag key.
    pub key: String,
    /// Environment variable of the process.
    pub variable: String,
}
