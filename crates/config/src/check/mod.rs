//! The schema, section by section: what each key may hold and what it becomes.

mod databases;
mod filters;
mod services;
mod stacks;
mod tap;

use std::collections::BTreeMap;

use crate::diagnostic::Problem;
use crate::reader::{At, Checker, Fields, Known, Names};
use crate::schema::{Config, ProcessTag, Services, Tap};
use crate::yaml::{Node, Span, Value};

const TOP: [&str; 7] = [
    "version", "services", "stacks", "tap", "tags", "rulekit", "control",
];
/// Keys with this prefix at the top level hold anchors for use elsewhere, as in other tools' files.
const EXTENSION_PREFIX: &str = "x-";

/// Checks a document. The result means something only if no error was reported.
pub(crate) fn document(checker: &mut Checker, root: Option<&Node>) -> Config {
    let Some(node) = root.filter(|node| !node.is_null()) else {
        let start = Span {
            line: 1,
            column: 1,
            bytes: 0..0,
        };
        version(checker, None, &start);
        missing_tap(checker, &start);
        return Config {
            services: services::or_disabled(Services::default()),
            stacks: BTreeMap::new(),
            tap: Tap::nothing(),
            tags: Vec::new(),
        };
    };
    let at = At {
        node,
        path: String::new(),
    };
    let top = top_fields(checker, &at).unwrap_or(Fields::empty());
    version(checker, top.get("version"), &node.span);
    let services = services::check(checker, top.get("services"));
    let stacks = stacks::check(checker, top.get("stacks"), &services);
    let names: Vec<&str> = stacks.names.iter().map(String::as_str).collect();
    let tap = match top.get("tap") {
        Some(at) => tap::check(checker, &at, &names),
        None => {
            missing_tap(checker, top.key_span("tap").unwrap_or(&node.span));
            Tap::nothing()
        }
    };
    let tags = tags(checker, top.get("tags"));
    if let Some(at) = top.get("rulekit")
        && let Some(fields) = checker.fields(&at, &["macros"])
    {
        checker.empty_list(fields.get("macros"), "rulekit macros");
    }
    if let Some(at) = top.get("control")
        && !matches!(&at.node.value, Value::Mapping(entries) if entries.is_empty())
    {
        checker.not_available(&at, "`control`", "is");
    }
    Config {
        services: services.services,
        stacks: stacks.stacks,
        tap,
        tags,
    }
}

fn top_fields<'a>(checker: &mut Checker, at: &At<'a>) -> Option<Fields<'a>> {
    let Value::Mapping(entries) = &at.node.value else {
        return checker.fields(at, &TOP);
    };
    let extensions: Vec<&str> = entries
        .iter()
        .filter_map(|(key, _)| key.text())
        .filter(|key| key.starts_with(EXTENSION_PREFIX))
        .collect();
    if extensions.is_empty() {
        return checker.fields(at, &TOP);
    }
    let allowed: Vec<&str> = TOP.into_iter().chain(extensions).collect();
    checker.fields(at, &allowed)
}

fn version(checker: &mut Checker, value: Option<At<'_>>, document: &Span) {
    let (span, message) = match &value {
        None => (document, "`version` is missing".to_owned()),
        Some(at) => match at.node.text() {
            Some("2") => return,
            Some(found) => (
                &at.node.span,
                format!("`version` is {}, this agent reads 2", crate::yaml::shown(found)),
            ),
            None => {
                checker.whole(at, 2, 2);
                return;
            }
        },
    };
    checker.report(Problem::Version, span, "version", message).help = Some("write `version: 2`".to_owned());
}

fn missing_tap(checker: &mut Checker, span: &Span) {
    let report = checker.report(
        Problem::NoEffect,
        span,
        "tap",
        "`tap` is missing: nothing will be observed".to_owned(),
    );
    report.help =
        Some("`tap: {http: {stack: NAME}}` observes HTTP with the plugins of that stack".to_owned());
}

fn tags(checker: &mut Checker, value: Option<At<'_>>) -> Vec<ProcessTag> {
    const SOURCES: &Names<()> = &[
        ("env", Known::Ready(())),
        ("k8s.label", Known::NotYet),
        ("k8s.annotation", Known::NotYet),
        ("container.label", Known::NotYet),
    ];
    let items = value.map(|at| checker.items(&at)).unwrap_or_default();
    let mut tags = Vec::with_capacity(items.len());
    for item in items {
        let Some(fields) = checker.fields(&item, &["key", "source", "location"]) else {
            continue;
        };
        let key = checker
            .required(&fields, &item, "key")
            .and_then(|at| checker.name(&at));
        let source = checker
            .required(&fields, &item, "source")
            .and_then(|at| checker.one_of(&at, "tag source", SOURCES));
        let location = checker
            .required(&fields, &item, "location")
            .and_then(|at| checker.name(&at));
        if let (Some(key), Some(()), Some(variable)) = (key, source, location) {
            tags.push(ProcessTag {
                key: key.to_owned(),
                variable: variable.to_owned(),
            });
        }
    }
    tags
}
