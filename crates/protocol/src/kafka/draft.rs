//! A result before its topics are named, and the lines of its summary.

use std::fmt::{self, Write as _};

use super::errors;
use super::facts::{Note, Sample};
use super::topics::{Id, Names, Topic};
use crate::command::excerpt;
use crate::{CommandError, CommandResult};

/// Bytes of an error's text in a line of the summary.
const LINE_BYTES: usize = 256;

/// One line of the summary.
#[derive(Debug)]
pub(super) enum Line {
    Text(String),
    Note(Note),
    Sample(Sample),
}

/// What a request came to.
#[derive(Debug)]
pub(super) struct Draft {
    /// All but its lines and its error.
    pub(super) result: CommandResult,
    pub(super) lines: Vec<Line>,
    /// The error that tells most, and how many there were.
    pub(super) failure: Option<(Note, u64)>,
}

impl Draft {
    /// One of which nothing else is known.
    pub(super) fn of_kind(kind: &'static str) -> Self {
        Self {
            result: CommandResult {
                kind,
                ..CommandResult::default()
            },
            lines: Vec::new(),
            failure: None,
        }
    }

    /// Ids of the topics that it tells of.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        let of_lines = self.lines.iter().filter_map(|line| match line {
            Line::Text(_) => None,
            Line::Note(note) => note.topic.as_ref(),
            Line::Sample(sample) => sample.topic.as_ref(),
        });
        let of_failure = self.failure.iter().filter_map(|(note, _)| note.topic.as_ref());
        of_lines.chain(of_failure).filter_map(Topic::id)
    }

    /// Bytes held, by and large.
    pub(super) fn held(&self) -> usize {
        let message = |note: &Note| note.message.as_ref().map_or(0, String::len);
        let of_lines = self.lines.iter().map(|line| match line {
            Line::Text(text) => text.len(),
            Line::Note(note) => message(note),
            Line::Sample(sample) => sample.bytes,
        });
        let of_failure = self.failure.iter().map(|(note, _)| message(note));
        size_of::<Self>() + self.lines.len() * size_of::<Line>() + of_lines.chain(of_failure).sum::<usize>()
    }

    /// The result, as far as `names` are known.
    pub(super) fn finish(self, names: &Names<'_>) -> CommandResult {
        let lines = self.lines.into_iter().map(|line| match line {
            Line::Text(text) => text,
            Line::Note(note) => line_of(&note, names),
            Line::Sample(sample) => {
                place_of_sample(sample.topic.as_ref(), sample.partition, names) + &sample.line
            }
        });
        CommandResult {
            tags: lines.filter(|line| !line.is_empty()).collect(),
            error: self.failure.map(|(note, errors)| error_of(&note, errors, names)),
            ..self.result
        }
    }
}

/// What stands before a record: `[orders/0] `.
pub(super) fn place_of_sample(topic: Option<&Topic>, partition: i32, names: &Names<'_>) -> String {
    match topic {
        Some(topic) => format!("[{}/{partition}] ", names.shown(topic)),
        None => format!("[?/{partition}] "),
    }
}

pub(super) const fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Name of a code, or its number.
fn code_name(code: i16) -> String {
    errors::name(code).map_or_else(|| format!("ERROR_{code}"), |(name, _)| name.to_owned())
}

/// What a note is of.
fn place(note: &Note, names: &Names<'_>) -> String {
    match (&note.topic, note.partition, &note.name) {
        (Some(topic), Some(partition), _) => format!("{}/{partition}", names.shown(topic)),
        (Some(topic), None, _) => names.shown(topic).to_string(),
        (None, _, Some(name)) => name.clone(),
        (None, Some(partition), None) => format!("?/{partition}"),
        (None, None, None) => String::new(),
    }
}

/// `orders/0 3 messages 120 bytes zstd offset=15`, `orders/1 NOT_LEADER_OR_FOLLOWER (retriable) node=2`.
fn line_of(note: &Note, names: &Names<'_>) -> String {
    let mut line = place(note, names);
    let mut add = |words: fmt::Arguments<'_>| {
        if !line.is_empty() {
            line.push(' ');
        }
        // A string takes whatever is written to it.
        let _ = line.write_fmt(words);
    };
    if let Some(total) = note.total {
        let part = if total.is_partial { " or more" } else { "" };
        let plural = plural(total.messages);
        add(format_args!(
            "{} message{plural}{part} {} bytes {}",
            total.messages,
            total.bytes,
            total.codec.name()
        ));
    }
    if let Some(offset) = note.offset {
        add(format_args!("offset={offset}"));
    }
    if note.error != 0 {
        add(format_args!("{}", described(note.error)));
    }
    if let Some(node) = note.node {
        add(format_args!("node={node}"));
    }
    if let Some(message) = &note.message {
        add(format_args!("{}", excerpt(message.as_bytes(), LINE_BYTES).0));
    }
    line
}

fn described(code: i16) -> String {
    let is_retriable = errors::name(code).is_some_and(|(_, retriable)| retriable);
    format!(
        "{}{}",
        code_name(code),
        if is_retriable { " (retriable)" } else { "" }
    )
}

fn error_of(note: &Note, errors: u64, names: &Names<'_>) -> CommandError {
    let mut message = place(note, names);
    if !message.is_empty() {
        message.push_str(": ");
    }
    message.push_str(&described(note.error));
    if let Some(text) = &note.message {
        message.push_str(": ");
        message.push_str(text);
    }
    if errors > 1 {
        message.push_str(&format!(", and {} more", errors - 1));
    }
    CommandError {
        code: code_name(note.error),
        message,
    }
}
