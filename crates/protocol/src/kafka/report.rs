//! Facts of a request and of its reply as a command and a result.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::errors;
use super::facts::{Facts, Note};
use super::schema::{Api, FETCH, PRODUCE, SASL_AUTHENTICATE, SHARE_FETCH};
use crate::command::excerpt;
use crate::{Command, CommandError, CommandResult, CommandText, REDACTED, Session};

/// Bytes of an error's text in a line of the summary.
const LINE_BYTES: usize = 256;

/// What a request asks, with `topics` in place of its own.
pub(super) fn command(
    name: &str,
    api: Option<&Api>,
    facts: &Facts,
    topics: &[Arc<str>],
    client: Option<Arc<str>>,
    limit: usize,
) -> Command {
    let is_secret = api.is_some_and(|api| api.key == SASL_AUTHENTICATE);
    let mut words = vec![name.to_owned()];
    if !topics.is_empty() {
        words.push(topics.join(","));
    }
    if !facts.resources.is_empty() {
        words.push(facts.resources.join(","));
    }
    let keys = match facts.key_type {
        1 => "transaction",
        2 => "share",
        _ => "group",
    };
    for (label, names) in [
        ("group", &facts.groups),
        ("transaction", &facts.transactions),
        (keys, &facts.keys),
    ] {
        if !names.is_empty() {
            words.push(format!("{label}={}", names.join(",")));
        }
    }
    if let Some(mechanism) = &facts.mechanism {
        words.push(format!("mechanism={mechanism}"));
    }
    if !facts.software.is_empty() {
        words.push(format!("software={}", facts.software.join("/")));
    }
    if is_secret {
        words.push(REDACTED.to_owned());
    }
    let mut command = Command {
        name: name.to_owned(),
        text: CommandText::Words(words),
        prepared: None,
        parameters: Vec::new(),
        session: Session {
            client,
            ..Session::default()
        },
        truncated: facts.truncated,
        redacted: is_secret,
    };
    command.cut(limit);
    command
}

/// Of a request, what its result needs.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) notes: Vec<Note>,
    pub(super) messages: u64,
    pub(super) samples: Vec<String>,
    /// Notes are not of all partitions.
    is_partial: bool,
    /// Partitions of a fetch that opens a session.
    pub(super) fetched: Vec<(Arc<str>, i32)>,
}

impl Sent {
    pub(super) fn of(facts: &mut Facts) -> Self {
        Self {
            notes: std::mem::take(&mut facts.notes),
            messages: facts.messages,
            samples: std::mem::take(&mut facts.samples),
            is_partial: facts.is_partial,
            fetched: std::mem::take(&mut facts.fetched),
        }
    }

    /// The count alone.
    pub(super) fn shortened(&self) -> Self {
        Self {
            messages: self.messages,
            is_partial: true,
            ..Self::default()
        }
    }

    /// Bytes held, by and large.
    pub(super) fn held(&self) -> usize {
        (self.notes.len() + self.fetched.len()) * 64 + self.samples.iter().map(String::len).sum::<usize>()
    }
}

/// The result of a request that has no reply.
pub(super) fn unanswered(sent: Sent) -> CommandResult {
    let mut tags = vec![count_of(sent.messages)];
    tags.extend(sent.notes.iter().map(line));
    tags.extend(sent.samples);
    CommandResult {
        kind: "no_reply",
        affected: Some(sent.messages),
        truncated: sent.is_partial,
        tags,
        ..CommandResult::default()
    }
}

/// The result of a request, of whose reply is known only that it came.
pub(super) fn unread() -> CommandResult {
    CommandResult {
        kind: "unread",
        ..CommandResult::default()
    }
}

/// The result of a request whose reply was read.
pub(super) fn result(api: &Api, sent: Sent, facts: &mut Facts) -> CommandResult {
    let mut notes = std::mem::take(&mut facts.notes);
    let (mut lost, mut tags) = (0_u64, Vec::new());
    for asked in &sent.notes {
        let told = notes
            .iter_mut()
            .find(|note| note.topic == asked.topic && note.partition == asked.partition);
        if let Some(told) = told {
            told.total = told.total.or(asked.total);
            told.offset = told.offset.or(asked.offset);
            let messages = asked.total.map_or(0, |total| total.messages);
            lost += if told.error == 0 { 0 } else { messages };
        } else if asked.offset.is_some() && notes.len() < super::facts::KEPT {
            // Commits of offsets, of which the reply has nothing to say.
            notes.push(asked.clone());
        }
    }
    let is_produce = api.key == PRODUCE;
    let is_fetch = matches!(api.key, FETCH | SHARE_FETCH);
    if is_produce || is_fetch {
        tags.push(count_of(if is_produce { sent.messages } else { facts.messages }));
    }
    let is_whole_told = facts.whole.node.is_some() || facts.whole.error != 0;
    let whole = is_whole_told.then(|| line(&facts.whole));
    tags.extend(whole.filter(|line| !line.is_empty()));
    tags.extend(notes.iter().map(line));
    tags.extend(sent.samples);
    tags.append(&mut facts.samples);
    let error = facts.worst.take().map(|note| failure(&note, facts.errors));
    let all_failed = facts.whole.error != 0;
    CommandResult {
        kind: if error.is_some() { "Error" } else { "OK" },
        error,
        affected: is_produce.then(|| {
            if all_failed {
                0
            } else {
                sent.messages.saturating_sub(lost)
            }
        }),
        count: match () {
            () if is_fetch => Some(facts.messages),
            () if !is_produce && facts.topic_count > 0 => Some(facts.topic_count),
            () => None,
        },
        tags,
        truncated: facts.truncated || facts.is_partial || sent.is_partial,
        throttle_ms: facts
            .throttle_ms
            .and_then(|ms| u32::try_from(ms).ok())
            .filter(|ms| *ms > 0),
        ..CommandResult::default()
    }
}

fn count_of(messages: u64) -> String {
    format!("{messages} message{}", plural(messages))
}

const fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Name of a code, or its number.
fn code_name(code: i16) -> String {
    errors::name(code).map_or_else(|| format!("ERROR_{code}"), |(name, _)| name.to_owned())
}

/// What a note is of.
fn place(note: &Note) -> String {
    match (&note.topic, note.partition, &note.name) {
        (Some(topic), Some(partition), _) => format!("{topic}/{partition}"),
        (Some(topic), None, _) => topic.to_string(),
        (None, _, Some(name)) => name.clone(),
        (None, Some(partition), None) => format!("?/{partition}"),
        (None, None, None) => String::new(),
    }
}

/// `orders/0 3 messages 120 bytes zstd offset=15`, `orders/1 NOT_LEADER_OR_FOLLOWER (retriable) node=2`.
fn line(note: &Note) -> String {
    let mut line = place(note);
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

fn failure(note: &Note, errors: u64) -> CommandError {
    let mut message = place(note);
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
