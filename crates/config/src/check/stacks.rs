//! `stacks`: named lists of plugins and the settings of each.

use std::collections::BTreeMap;

use super::services::{self, Reference, reference};
use crate::diagnostic::Problem;
use crate::reader::{At, Checker, Fields, Known, Names};
use crate::schema::{AccessLogs, CaptureFormat, HttpCapture, Level, LogFormat, Plugin, ReportUsage, Stack};
use crate::yaml::Value;

/// The word that stands for "no stack" wherever a stack is named.
pub(super) const NO_STACK: &str = "none";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    AccessLogs,
    Debug,
    HttpCapture,
    ReportUsage,
}

const PLUGINS: &Names<Kind> = &[
    ("access_logs", Known::Ready(Kind::AccessLogs)),
    ("debug", Known::Ready(Kind::Debug)),
    ("http_capture", Known::Ready(Kind::HttpCapture)),
    ("report_usage", Known::Ready(Kind::ReportUsage)),
    ("http_metrics", Known::NotYet),
    ("detect_errors", Known::NotYet),
    ("error_detection", Known::NotYet),
    ("data_loss_protection", Known::NotYet),
    ("qscan", Known::NotYet),
    ("llm", Known::NotYet),
    ("logger", Known::NotYet),
    ("devtools", Known::NotYet),
];

const LEVELS: &Names<Level> = &[
    ("none", Known::Ready(Level::None)),
    ("summary", Known::Ready(Level::Summary)),
    ("headers", Known::Ready(Level::Headers)),
    ("details", Known::Ready(Level::Headers)),
    ("full", Known::Ready(Level::Full)),
];

const LOG_FORMATS: &Names<LogFormat> = &[
    ("json", Known::Ready(LogFormat::Json)),
    ("console", Known::Ready(LogFormat::Console)),
    ("auto", Known::Ready(LogFormat::Auto)),
];

const CAPTURE_FORMATS: &Names<CaptureFormat> = &[
    ("json", Known::Ready(CaptureFormat::Json)),
    ("text", Known::Ready(CaptureFormat::Text)),
];

/// Resolved stacks, and every name that was defined, so that an error inside a stack is not reported again where the
/// stack is used.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) stacks: BTreeMap<String, Stack>,
    pub(super) names: Vec<String>,
}

pub(super) fn check(checker: &mut Checker, value: Option<At<'_>>, stores: &services::Checked) -> Checked {
    let mut checked = Checked::default();
    let entries = value
        .and_then(|at| checker.entries(&at, "a mapping of names to stacks"))
        .unwrap_or_default();
    for (name, span, at) in entries {
        if name.trim().is_empty() || name == NO_STACK {
            let message =
                format!("a stack cannot be named \"{name}\": where a stack is named, it means no stack");
            checker.report(Problem::Invalid, span, &at.path, message);
            continue;
        }
        checked.names.push(name.to_owned());
        let plugins = if at.node.is_null() {
            Vec::new()
        } else {
            stack(checker, &at, stores)
        };
        checked.stacks.insert(name.to_owned(), Stack { plugins });
    }
    checked
}

fn stack(checker: &mut Checker, at: &At<'_>, stores: &services::Checked) -> Vec<Plugin> {
    let Some(fields) = checker.fields(at, &["plugins"]) else {
        return Vec::new();
    };
    let items = fields
        .get("plugins")
        .map(|at| checker.items(&at))
        .unwrap_or_default();
    items
        .iter()
        .filter_map(|item| plugin(checker, item, stores))
        .collect()
}

fn plugin(checker: &mut Checker, item: &At<'_>, stores: &services::Checked) -> Option<Plugin> {
    let fields = checker.fields(item, &["type", "config"])?;
    let kind_at = checker.required(&fields, item, "type")?;
    let kind = checker.one_of(&kind_at, "plugin", PLUGINS)?;
    let config = fields.get("config");
    match kind {
        Kind::AccessLogs => access_logs(checker, config, LogFormat::Json),
        Kind::Debug => access_logs(checker, config, LogFormat::Console),
        Kind::HttpCapture => http_capture(checker, &kind_at, config, stores),
        Kind::ReportUsage => report_usage(checker, config),
    }
}

/// A plugin's settings; absent is the same as empty.
fn settings<'a>(checker: &mut Checker, config: Option<At<'a>>, keys: &[&str]) -> Option<Fields<'a>> {
    match config {
        Some(at) => checker.fields(&at, keys),
        None => Some(Fields::empty()),
    }
}

fn access_logs(checker: &mut Checker, config: Option<At<'_>>, default: LogFormat) -> Option<Plugin> {
    let fields = settings(checker, config, &["mode", "format", "rules"])?;
    let mode = fields.get("mode").map(|at| checker.one_of(&at, "mode", LEVELS));
    let format = fields
        .get("format")
        .map(|at| checker.one_of(&at, "format", LOG_FORMATS));
    checker.empty_list(fields.get("rules"), "rules");
    Some(Plugin::AccessLogs(AccessLogs {
        mode: mode.unwrap_or(Some(Level::Summary))?,
        format: format.unwrap_or(Some(default))?,
    }))
}

fn http_capture(
    checker: &mut Checker,
    kind: &At<'_>,
    config: Option<At<'_>>,
    stores: &services::Checked,
) -> Option<Plugin> {
    let fields = settings(checker, config, &["level", "format", "object_store", "rules"])?;
    let level = fields.get("level").map(|at| checker.one_of(&at, "level", LEVELS));
    let format = fields
        .get("format")
        .map(|at| checker.one_of(&at, "format", CAPTURE_FORMATS));
    checker.empty_list(fields.get("rules"), "rules");
    let selected = fields
        .get("object_store")
        .map(|at| reference(checker, &at, "object store", &stores.object_ids));
    let object_store = match selected.unwrap_or(Reference::Default) {
        Reference::Default => Some(0),
        Reference::Index(index) => index,
        Reference::Disabled => None,
    };
    let level = level.unwrap_or(Some(Level::None))?;
    if level != Level::None && !stores.has_object_stores {
        let message = "`http_capture` has no object store to write to".to_owned();
        let report = checker.error(Problem::NoEffect, kind, message);
        report.help = Some("add `services: {object_stores: [{type: stdout}]}`".to_owned());
    }
    Some(Plugin::HttpCapture(HttpCapture {
        level,
        format: format.unwrap_or(Some(CaptureFormat::Json))?,
        object_store,
    }))
}

fn report_usage(checker: &mut Checker, config: Option<At<'_>>) -> Option<Plugin> {
    let fields = settings(checker, config, &["headers", "tags"])?;
    let items = fields
        .get("headers")
        .map(|at| checker.items(&at))
        .unwrap_or_default();
    let headers = items.iter().filter_map(|at| header_name(checker, at)).collect();
    if let Some(at) = fields.get("tags")
        && !matches!(&at.node.value, Value::Sequence(items) if items.is_empty())
    {
        checker.error(
            Problem::NoEffect,
            &at,
            "`tags` of `report_usage` changes nothing".to_owned(),
        );
    }
    Some(Plugin::ReportUsage(ReportUsage { headers }))
}

/// A header's name (RFC 9110 §5.6.2 `token`).
fn header_name(checker: &mut Checker, at: &At<'_>) -> Option<String> {
    let name = checker.name(at)?;
    let is_token = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !is_token {
        let message = format!("\"{}\" is not a header name", crate::yaml::shown(name));
        checker.error(Problem::Invalid, at, message);
        return None;
    }
    Some(name.to_owned())
}
