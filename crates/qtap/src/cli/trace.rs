//! `--bpf-trace` (capture.md §14): `key:value` items separated by commas.
//!
//! The first colon ends the key, so values may hold colons; a comma in a value is written `\,` and a backslash before
//! a comma `\\`. Any other backslash stands for itself, so that regular expressions need no doubling.

use qtap_config::nearest;
use regex::Regex;
use thiserror::Error;

/// A part of the kernel side that can be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TraceModule {
    Ca,
    Debug,
    GnuTls,
    GoTls,
    JavaSsl,
    NodeTls,
    OpenSsl,
    Process,
    Protocol,
    Redirector,
    Rustls,
    Socket,
}

const MODULES: [(&str, TraceModule); 12] = [
    ("ca", TraceModule::Ca),
    ("debug", TraceModule::Debug),
    ("gnutls", TraceModule::GnuTls),
    ("gotls", TraceModule::GoTls),
    ("javassl", TraceModule::JavaSsl),
    ("nodetls", TraceModule::NodeTls),
    ("openssl", TraceModule::OpenSsl),
    ("process", TraceModule::Process),
    ("protocol", TraceModule::Protocol),
    ("redirector", TraceModule::Redirector),
    ("rustls", TraceModule::Rustls),
    ("socket", TraceModule::Socket),
];

const KEYS: [&str; 8] = [
    "mod",
    "exe",
    "exe.contains",
    "exe.startsWith",
    "exe.endsWith",
    "exe.regex",
    "pid",
    "container",
];

/// A test of an executable's path.
#[derive(Clone, Debug)]
pub(crate) enum ExeTest {
    /// `exe:*`.
    Any,
    /// `exe:`.
    Exact(String),
    /// `exe.contains:`.
    Contains(String),
    /// `exe.startsWith:`.
    StartsWith(String),
    /// `exe.endsWith:`.
    EndsWith(String),
    /// `exe.regex:`, matched anywhere.
    Regex(Regex),
}

impl ExeTest {
    /// Whether a path passes.
    pub(crate) fn matches(&self, exe: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => exe == text,
            Self::Contains(text) => exe.contains(text),
            Self::StartsWith(text) => exe.starts_with(text),
            Self::EndsWith(text) => exe.ends_with(text),
            Self::Regex(regex) => regex.is_match(exe),
        }
    }
}

impl PartialEq for ExeTest {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Exact(a), Self::Exact(b))
            | (Self::Contains(a), Self::Contains(b))
            | (Self::StartsWith(a), Self::StartsWith(b))
            | (Self::EndsWith(a), Self::EndsWith(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// What to trace. Empty = nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TraceQuery {
    /// These modules; if only processes are named, all modules.
    pub(crate) modules: Vec<TraceModule>,
    /// Processes, by path.
    pub(crate) exes: Vec<ExeTest>,
    /// Processes, by number.
    pub(crate) pids: Vec<u32>,
    /// Processes, by the beginning of their container's id.
    pub(crate) containers: Vec<String>,
}

/// Why a query cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TraceError {
    #[error("trace item `{0}` is not key:value")]
    NoColon(String),
    #[error("trace item `{0}` has no value")]
    NoValue(String),
    #[error("unknown trace key `{found}`{}; known: {}", hint(.nearest), KEYS.join(", "))]
    UnknownKey { found: String, nearest: Option<String> },
    #[error("unknown trace module `{found}`{}; known: {}", hint(.nearest), MODULES.map(|(name, _)| name).join(", "))]
    UnknownModule { found: String, nearest: Option<String> },
    #[error("`{0}` is not a process id")]
    Pid(String),
    #[error("`{0}` is not a container id: hexadecimal digits are expected")]
    Container(String),
    #[error("invalid regular expression in `exe.regex`: {0}")]
    Regex(String),
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|name| format!(", did you mean `{name}`?"))
        .unwrap_or_default()
}

impl TraceQuery {
    /// Reads a query.
    pub(crate) fn parse(text: &str) -> Result<Self, TraceError> {
        let mut query = Self::default();
        for item in items(text) {
            let item = item.trim();
            if item.is_empty() {
                continue;
            }
            let (key, value) = item
                .split_once(':')
                .ok_or_else(|| TraceError::NoColon(shown(item)))?;
            let (key, value) = (key.trim(), value.trim());
            if !KEYS.contains(&key) {
                let nearest = nearest(key, KEYS).map(str::to_owned);
                return Err(TraceError::UnknownKey {
                    found: shown(key),
                    nearest,
                });
            }
            if value.is_empty() {
                return Err(TraceError::NoValue(shown(item)));
            }
            query.add(key, value)?;
        }
        Ok(query)
    }

    fn add(&mut self, key: &str, value: &str) -> Result<(), TraceError> {
        let text = || value.to_owned();
        match key {
            "mod" => self.modules.push(module(value)?),
            "exe" if value == "*" => self.exes.push(ExeTest::Any),
            "exe" => self.exes.push(ExeTest::Exact(text())),
            "exe.contains" => self.exes.push(ExeTest::Contains(text())),
            "exe.startsWith" => self.exes.push(ExeTest::StartsWith(text())),
            "exe.endsWith" => self.exes.push(ExeTest::EndsWith(text())),
            "exe.regex" => self.exes.push(ExeTest::Regex(regex(value)?)),
            "pid" => self.pids.push(pid(value)?),
            _ => self.containers.push(container(value)?),
        }
        Ok(())
    }

    /// Whether nothing is traced.
    pub(crate) fn is_empty(&self) -> bool {
        self.modules.is_empty() && !self.names_processes()
    }

    /// Whether a module is traced.
    pub(crate) fn includes(&self, module: TraceModule) -> bool {
        self.modules.contains(&module) || (self.modules.is_empty() && self.names_processes())
    }

    /// Whether a process is traced. `container` is its full id.
    pub(crate) fn selects(&self, pid: u32, exe: Option<&str>, container: Option<&str>) -> bool {
        if !self.names_processes() {
            return !self.modules.is_empty();
        }
        self.pids.contains(&pid)
            || exe.is_some_and(|exe| self.exes.iter().any(|test| test.matches(exe)))
            || container.is_some_and(|id| self.containers.iter().any(|start| id.starts_with(start)))
    }

    fn names_processes(&self) -> bool {
        !self.exes.is_empty() || !self.pids.is_empty() || !self.containers.is_empty()
    }
}

/// Splits at commas and undoes `\,` and `\\,`.
fn items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let mut rest = chars.clone();
        match (char, rest.next(), rest.next()) {
            ('\\', Some(','), _) => {
                chars.next();
                push(&mut items, ',');
            }
            ('\\', Some('\\'), Some(',')) => {
                chars.next();
                push(&mut items, '\\');
            }
            (',', _, _) => items.push(String::new()),
            _ => push(&mut items, char),
        }
    }
    items
}

fn push(items: &mut [String], char: char) {
    if let Some(item) = items.last_mut() {
        item.push(char);
    }
}

fn module(name: &str) -> Result<TraceModule, TraceError> {
    let known = MODULES.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, module)| *module)
        .ok_or_else(|| TraceError::UnknownModule {
            found: shown(name),
            nearest: nearest(name, MODULES.iter().map(|(known, _)| *known)).map(str::to_owned),
        })
}

fn regex(text: &str) -> Result<Regex, TraceError> {
    Regex::new(text).map_err(|error| {
        let whole = error.to_string();
        let reason = whole.lines().last().unwrap_or_default();
        TraceError::Regex(reason.strip_prefix("error: ").unwrap_or(reason).to_owned())
    })
}

fn pid(text: &str) -> Result<u32, TraceError> {
    let pid: Option<i32> = text.parse().ok().filter(|pid| *pid > 0);
    pid.and_then(|pid| u32::try_from(pid).ok())
        .ok_or_else(|| TraceError::Pid(shown(text)))
}

fn container(text: &str) -> Result<String, TraceError> {
    let id = text.to_ascii_lowercase();
    if id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(TraceError::Container(shown(text)));
    }
    Ok(id)
}

fn shown(text: &str) -> String {
    text.escape_debug().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> ExeTest {
        ExeTest::Exact(text.to_owned())
    }

    #[test]
    fn queries_of_the_specification_are_read() {
        let query = TraceQuery::parse("mod:socket,exe.contains:nginx").unwrap();
        assert_eq!(query.modules, [TraceModule::Socket]);
        assert_eq!(query.exes, [ExeTest::Contains("nginx".to_owned())]);
        let all = "exe:*,exe:/a,exe.startsWith:/b,exe.endsWith:/c,exe.contains:d,exe.regex:^/e$,pid:7,container:AB12";
        let query = TraceQuery::parse(all).unwrap();
        assert_eq!(
            query.exes,
            [
                ExeTest::Any,
                exact("/a"),
                ExeTest::StartsWith("/b".to_owned()),
                ExeTest::EndsWith("/c".to_owned()),
                ExeTest::Contains("d".to_owned()),
                ExeTest::Regex(Regex::new("^/e$").unwrap()),
            ]
        );
        assert_eq!((query.pids, query.containers), (vec![7], vec!["ab12".to_owned()]));
    }

    #[test]
    fn values_may_hold_colons_and_escaped_commas() {
        let cases = [
            ("exe:/a:b", exact("/a:b")),
            (r"exe:/a\,b", exact("/a,b")),
            (r"exe:/a\\,pid:1", exact(r"/a\")),
            (r"exe:/a\b\\c", exact(r"/a\b\\c")),
            (
                r"exe.regex:^\d{1\,3}$",
                ExeTest::Regex(Regex::new(r"^\d{1,3}$").unwrap()),
            ),
            (" exe : /a ", exact("/a")),
        ];
        for (text, expected) in cases {
            assert_eq!(TraceQuery::parse(text).unwrap().exes, [expected], "{text}");
        }
    }

    #[test]
    fn errors_name_the_item_and_the_nearest_name() {
        let cases = [
            ("socket", "trace item `socket` is not key:value"),
            ("mod:", "trace item `mod:` has no value"),
            ("bin.contains:x", "unknown trace key `bin.contains`"),
            ("exe.endswith:x", "did you mean `exe.endsWith`?"),
            (
                "mod:opensll",
                "unknown trace module `opensll`, did you mean `openssl`?",
            ),
            ("mod:nope", "known: ca, debug, gnutls, gotls"),
            ("pid:0", "`0` is not a process id"),
            ("pid:99999999999", "is not a process id"),
            ("container:web", "`web` is not a container id"),
            (
                "exe.regex:(",
                "invalid regular expression in `exe.regex`: unclosed group",
            ),
        ];
        for (text, expected) in cases {
            let message = TraceQuery::parse(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn modules_add_up_and_tests_of_processes_are_alternatives() {
        let query =
            TraceQuery::parse("mod:socket,mod:openssl,exe.endsWith:/curl,pid:7,container:ab12").unwrap();
        assert!(query.includes(TraceModule::OpenSsl) && !query.includes(TraceModule::Ca));
        assert!(query.selects(1, Some("/usr/bin/curl"), None));
        assert!(query.selects(7, None, None));
        assert!(query.selects(1, None, Some("ab12cd")));
        assert!(!query.selects(1, Some("/usr/bin/wget"), Some("cd")));
    }

    #[test]
    fn without_a_process_all_are_traced_and_without_a_module_all_modules() {
        let modules_only = TraceQuery::parse("mod:socket").unwrap();
        assert!(modules_only.selects(1, None, None));
        let processes_only = TraceQuery::parse("exe:/a").unwrap();
        assert!(processes_only.includes(TraceModule::Rustls));
        let nothing = TraceQuery::parse(" , ").unwrap();
        assert!(
            nothing.is_empty() && !nothing.includes(TraceModule::Socket) && !nothing.selects(1, None, None)
        );
    }
}
