//! `tap`: which connections are observed, and with which stack.

use std::collections::HashMap;

use super::stacks::NO_STACK;
use super::{databases, filters};
use crate::diagnostic::Problem;
use crate::reader::{At, Checker, Fields, Known, Names};
use crate::schema::{DatabaseDetail, Direction, Endpoint, Limits, MemorySearch, Tap, TlsSource};
use crate::size::parse_size;
use crate::yaml::shown;

const TAP: [&str; 13] = [
    "direction",
    "ignore_loopback",
    "audit_include_dns",
    "http",
    "redis",
    "mysql",
    "kafka",
    "postgres",
    "grpc",
    "filters",
    "endpoints",
    "tls",
    "limits",
];

const ENDPOINT: [&str; 7] = ["domain", "http", "redis", "mysql", "kafka", "postgres", "grpc"];

const DIRECTIONS: &Names<Direction> = &[
    ("all", Known::Ready(Direction::All)),
    ("ingress", Known::Ready(Direction::Ingress)),
    ("egress", Known::Ready(Direction::Egress)),
    ("egress-internal", Known::Ready(Direction::EgressInternal)),
    ("egress-external", Known::Ready(Direction::EgressExternal)),
];

const TLS_SOURCES: &Names<TlsSource> = &[
    ("auto", Known::Ready(TlsSource::Auto)),
    ("secrets", Known::Ready(TlsSource::Secrets)),
    ("calls", Known::Ready(TlsSource::Calls)),
];

const MEMORY_SEARCHES: &Names<MemorySearch> = &[
    ("auto", Known::Ready(MemorySearch::Auto)),
    ("off", Known::Ready(MemorySearch::Off)),
];

pub(super) fn check(checker: &mut Checker, at: &At<'_>, stacks: &[&str]) -> Tap {
    let Some(fields) = checker.fields(at, &TAP) else {
        return Tap::nothing();
    };
    let direction = fields
        .get("direction")
        .and_then(|at| checker.one_of(&at, "direction", DIRECTIONS));
    let ignore_loopback = fields.get("ignore_loopback").and_then(|at| checker.boolean(&at));
    let audit_include_dns = fields
        .get("audit_include_dns")
        .and_then(|at| checker.boolean(&at));
    let http = fields
        .get("http")
        .and_then(|at| stack_of(checker, &at, stacks))
        .flatten();
    let grpc = grpc_stack(checker, &fields, stacks);
    let databases = databases::all(checker, &fields, stacks);
    let filters = fields
        .get("filters")
        .map(|at| filters::check(checker, &at))
        .unwrap_or_default();
    let endpoints = endpoints(checker, fields.get("endpoints"), stacks);
    let tls = (fields.get("tls")).and_then(|at| checker.fields(&at, &["source", "memory_search", "hold"]));
    let tls_source = (tls.as_ref())
        .and_then(|tls| tls.get("source"))
        .and_then(|at| checker.one_of(&at, "TLS source", TLS_SOURCES));
    let tls_memory_search = (tls.as_ref())
        .and_then(|tls| tls.get("memory_search"))
        .and_then(|at| checker.one_of(&at, "memory search", MEMORY_SEARCHES));
    let tls_hold = (tls.as_ref())
        .and_then(|tls| tls.get("hold"))
        .and_then(|at| checker.boolean(&at));
    let limits = fields
        .get("limits")
        .map(|at| limits(checker, &at))
        .unwrap_or_default();
    Tap {
        direction: direction.unwrap_or_default(),
        ignore_loopback: ignore_loopback.unwrap_or_default(),
        audit_include_dns: audit_include_dns.unwrap_or_default(),
        http,
        grpc,
        database_detail: databases
            .iter()
            .filter(|(_, (_, detail))| *detail != DatabaseDetail::default())
            .map(|(name, (_, detail))| (*name, *detail))
            .collect(),
        databases: databases
            .into_iter()
            .filter_map(|(name, (stack, _))| Some((name, stack?)))
            .collect(),
        filters,
        endpoints,
        tls_source: tls_source.unwrap_or_default(),
        tls_memory_search: tls_memory_search.unwrap_or_default(),
        tls_hold: tls_hold.unwrap_or_default(),
        limits,
    }
}

/// The stack named by `{stack: …}`: `None` if it has an error, `Some(None)` for none.
pub(super) fn stack_of(checker: &mut Checker, at: &At<'_>, stacks: &[&str]) -> Option<Option<String>> {
    let fields = checker.fields(at, &["stack"])?;
    let Some(at) = fields.get("stack") else {
        return Some(None);
    };
    stack_named(checker, &at, stacks)
}

/// The same of the name itself.
pub(super) fn stack_named(checker: &mut Checker, at: &At<'_>, stacks: &[&str]) -> Option<Option<String>> {
    let name = checker.text(at)?;
    if name.is_empty() || name == NO_STACK {
        return Some(None);
    }
    if !stacks.contains(&name) {
        let report = checker.unknown_name(at, "stack", stacks.iter().copied().chain([NO_STACK]));
        report.help = Some("stacks are defined under `stacks`".to_owned());
        return None;
    }
    Some(Some(name.to_owned()))
}

/// The stack of gRPC: `None` where nothing is said of it, `Some(None)` for none.
fn grpc_stack(checker: &mut Checker, fields: &Fields<'_>, stacks: &[&str]) -> Option<Option<String>> {
    let fields = checker.fields(&fields.get("grpc")?, &["stack"])?;
    stack_named(checker, &fields.get("stack")?, stacks)
}

fn endpoints(checker: &mut Checker, value: Option<At<'_>>, stacks: &[&str]) -> Vec<Endpoint> {
    let items = value.map(|at| checker.items(&at)).unwrap_or_default();
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut endpoints = Vec::with_capacity(items.len());
    for item in items {
        let Some(fields) = checker.fields(&item, &ENDPOINT) else {
            continue;
        };
        let http = fields.get("http").map(|at| stack_of(checker, &at, stacks));
        let grpc = grpc_stack(checker, &fields, stacks);
        let databases = databases::overrides(checker, &fields, stacks);
        let Some(at) = checker.required(&fields, &item, "domain") else {
            continue;
        };
        let Some(domain) = domain(checker, &at) else {
            continue;
        };
        if let Some(line) = lines.insert(domain.clone(), at.node.span.line) {
            let message = format!(
                "the domain `{}` already has an entry on line {line}",
                shown(&domain)
            );
            checker.error(Problem::DuplicateName, &at, message);
            continue;
        }
        endpoints.push(Endpoint {
            domain,
            http: http.flatten(),
            grpc,
            databases,
        });
    }
    endpoints
}

/// A host name, or `*.` and a host name; in lower case, without the root's dot.
fn domain(checker: &mut Checker, at: &At<'_>) -> Option<String> {
    let found = checker.name(at)?;
    let domain = found.to_ascii_lowercase();
    let domain = domain.strip_suffix('.').unwrap_or(&domain);
    if !is_host_name(domain.strip_prefix("*.").unwrap_or(domain)) {
        let report = checker.error(
            Problem::Invalid,
            at,
            format!("`{}` is not a host name", shown(found)),
        );
        report.help = Some(
            "write a name such as api.example.com, or *.example.com for all names below it; no port, no path"
                .to_owned(),
        );
        return None;
    }
    Some(domain.to_owned())
}

/// RFC 952 as amended by RFC 1123 §2.1: labels of letters, digits and hyphens, 63 octets each, 253 in all.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn limits(checker: &mut Checker, at: &At<'_>) -> Limits {
    const PAGE: u64 = 4096;
    const RING_MAX: u64 = 1 << 30;
    let defaults = Limits::default();
    let keys = [
        "data_ring",
        "control_ring",
        "memory",
        "body",
        "call",
        "cpu_percent",
    ];
    let Some(fields) = checker.fields(at, &keys) else {
        return defaults;
    };
    let mut bytes = |key: &str, default: u64, least: u64, most: u64| match fields.get(key) {
        Some(at) => size(checker, &at, least, most).unwrap_or(default),
        None => default,
    };
    let data_ring = bytes("data_ring", defaults.data_ring, PAGE, RING_MAX);
    let control_ring = bytes("control_ring", defaults.control_ring, PAGE, RING_MAX);
    let memory = bytes("memory", defaults.memory, 1 << 20, crate::size::MAX_SIZE);
    let body = bytes("body", defaults.body, 0, crate::size::MAX_SIZE);
    let call = bytes("call", defaults.call, 1, RING_MAX);
    let cpu_percent = (fields.get("cpu_percent")).and_then(|at| checker.whole(&at, 1, 100_000));
    Limits {
        data_ring: data_ring.next_power_of_two(),
        control_ring: control_ring.next_power_of_two(),
        memory,
        body,
        call,
        cpu_percent: cpu_percent.unwrap_or(defaults.cpu_percent),
    }
}

/// A size between two bounds, inclusive. Written as text with a unit, or as a number of bytes.
fn size(checker: &mut Checker, at: &At<'_>, least: u64, most: u64) -> Option<u64> {
    let Some(found) = at.node.text() else {
        // Reports the collection that stands here.
        checker.text(at);
        return None;
    };
    match parse_size(found) {
        Ok(bytes) if (least..=most).contains(&bytes) => Some(bytes),
        Ok(bytes) => {
            checker.error(
                Problem::Invalid,
                at,
                format!("{bytes} bytes is not between {least} and {most} bytes"),
            );
            None
        }
        Err(error) => {
            checker.error(
                Problem::Invalid,
                at,
                format!("`{}` is not a size: {error}", shown(found)),
            );
            None
        }
    }
}
