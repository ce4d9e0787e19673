//! The agent's own log, on standard error (`surface.md` §1.5).
//!
//! `console`: time, level, message and the fields as JSON, separated by tabs. `json`: one object a line with `level`,
//! `ts` (RFC 3339, UTC), `message`, the fields, and `caller` if asked for. Fields of enclosing spans come first.
//!
//! Two conventions let `tracing` fields say what the documented lines need: a dot in a field's name nests
//! (`msg.SNI = …` becomes `"msg": {"SNI": …}`), and a list written with `?` becomes a JSON list.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Least level shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// Names on the command line. The last three are levels of other loggers above error.
    pub(crate) const NAMES: [(&'static str, Self); 8] = [
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("dpanic", Self::Error),
        ("panic", Self::Error),
        ("fatal", Self::Error),
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        (Self::NAMES.iter().find(|(_, level)| *level == self)).map_or("info", |(name, _)| name)
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

/// Form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Console,
    Json,
}

impl Encoding {
    /// Names on the command line.
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("console", Self::Console), ("json", Self::Json)];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Json => "json",
        }
    }
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) level: LogLevel,
    /// `None`: console on a terminal, else JSON.
    pub(crate) encoding: Option<Encoding>,
    /// File and line of the agent's source.
    pub(crate) caller: bool,
}

/// Lines that could not be written, for the metrics: there is no better place to say so.
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// Number of log lines that standard error did not take.
pub(crate) fn lost_lines() -> u64 {
    LOST_LINES.load(Ordering::Relaxed)
}

/// Sends the events of this process to standard error from now on.
///
/// # Errors
/// If that was already done.
pub(crate) fn init(settings: LogSettings) -> Result<(), TryInitError> {
    let terminal = io::stderr().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let encoding = settings.encoding.unwrap_or(if terminal {
        Encoding::Console
    } else {
        Encoding::Json
    });
    let layer = LogLayer {
        encoding,
        colour: terminal && !no_colour,
        caller: settings.caller,
        writer: io::stderr,
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets(settings.level)))
        .try_init()
}

/// The agent's crates at the level asked for; the libraries they use never below info, where they say too much.
fn targets(level: LogLevel) -> Targets {
    let level = level.filter();
    Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("qtap", level)
}

/// Writes one line for each event.
struct LogLayer<W> {
    encoding: Encoding,
    colour: bool,
    caller: bool,
    writer: W,
}

/// Fields of a span, kept until its events.
struct SpanFields(Map<String, Value>);

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.map));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<SpanFields>() {
            let mut all = Fields {
                map: std::mem::take(&mut fields.0),
                message: String::new(),
            };
            values.record(&mut all);
            fields.0 = all.map;
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            if let Some(SpanFields(map)) = span.extensions().get::<SpanFields>() {
                fields.map.extend(map.clone());
            }
        }
        event.record(&mut fields);
        let meta = event.metadata();
        let caller = match (self.caller, meta.file(), meta.line()) {
            (true, Some(file), Some(line)) => Some(format!("{file}:{line}")),
            _ => None,
        };
        #[expect(clippy::disallowed_methods, reason = "a line tells the wall time")]
        let now = Timestamp::now();
        let line = match self.encoding {
            Encoding::Console => self.console(now, *meta.level(), &fields, caller),
            Encoding::Json => json(now, *meta.level(), fields, caller),
        };
        if self
            .writer
            .make_writer_for(meta)
            .write_all(line.as_bytes())
            .is_err()
        {
            LOST_LINES.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<W> LogLayer<W> {
    fn console(&self, now: Timestamp, level: Level, fields: &Fields, caller: Option<String>) -> String {
        let time = now
            .to_zoned(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S%.3f")
            .to_string();
        let (name, colour) = match level {
            Level::ERROR => ("ERROR", "31"),
            Level::WARN => ("WARN", "33"),
            Level::INFO => ("INFO", "34"),
            Level::DEBUG => ("DEBUG", "35"),
            Level::TRACE => ("TRACE", "36"),
        };
        let mut line = if self.colour {
            format!("\u{1b}[2m{time}\u{1b}[0m\t\u{1b}[{colour}m{name}\u{1b}[0m\t")
        } else {
            format!("{time}\t{name}\t")
        };
        if let Some(caller) = caller {
            line.push_str(&caller);
            line.push('\t');
        }
        push_escaped(&mut line, &fields.message);
        if !fields.map.is_empty() {
            line.push('\t');
            line.push_str(&terminal_safe(&Value::Object(fields.map.clone()).to_string()));
        }
        line.push('\n');
        line
    }
}

fn json(now: Timestamp, level: Level, fields: Fields, caller: Option<String>) -> String {
    let level = level.as_str().to_ascii_lowercase();
    let mut line = String::from("{\"level\":");
    push_json(&mut line, &Value::from(level));
    line.push_str(",\"ts\":");
    push_json(
        &mut line,
        &Value::from(now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()),
    );
    line.push_str(",\"message\":");
    push_json(&mut line, &Value::from(fields.message));
    for (name, value) in fields.map {
        // The first three keys, and `caller`, stay what they are.
        let is_taken = matches!(name.as_str(), "level" | "ts" | "message" | "caller");
        line.push(',');
        push_json(
            &mut line,
            &Value::from(if is_taken { format!("{name}_") } else { name }),
        );
        line.push(':');
        push_json(&mut line, &value);
    }
    if let Some(caller) = caller {
        line.push_str(",\"caller\":");
        push_json(&mut line, &Value::from(caller));
    }
    line.push_str("}\n");
    line
}

fn push_json(line: &mut String, value: &Value) {
    // Writing to a string does not fail.
    let _ = write!(line, "{value}");
}

/// Text for a terminal: what the observed traffic holds must not move the cursor.
fn push_escaped(line: &mut String, text: &str) {
    for char in text.chars() {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
}

/// JSON leaves the upper control characters as they are; some terminals obey them.
fn terminal_safe(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_control() {
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        } else {
            out.push(char);
        }
    }
    out
}

/// Collects the fields of an event or span.
#[derive(Default)]
struct Fields {
    map: Map<String, Value>,
    message: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        let mut names = field.name().split('.');
        let last = names.next_back().unwrap_or_default();
        let mut map = &mut self.map;
        for name in names {
            let inner = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            match inner {
                Value::Object(inner) => map = inner,
                _ => return,
            }
        }
        map.insert(last.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
            return;
        }
        let list = if text.starts_with('[') {
            serde_json::from_str(&text).ok()
        } else {
            None
        };
        self.add(field, list.unwrap_or(Value::String(text)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, Value::from(value));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(inner) = cause {
            let _ = write!(text, ": {inner}");
            cause = inner.source();
        }
        self.add(field, Value::from(text));
    }
}

#[cfg(test)]
mod tests;
