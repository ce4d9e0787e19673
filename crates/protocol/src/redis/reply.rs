//! Replies: kind, error, count, and the beginning of the value for people.

use std::fmt::Write;

use super::reader::{Sink, number};
use crate::command::{ERROR_BYTES, TAGS, boundary, shown};
use crate::{CommandError, CommandResult};

/// Bytes kept of the first strings of an array, which tell what a message of publish and subscribe is about.
const HEADING_BYTES: usize = 1024;

/// An element of an array: where in the preview it stands.
#[derive(Clone, Copy, Debug)]
struct Part {
    from: usize,
    to: usize,
}

/// Collects one reply.
#[derive(Debug)]
pub(super) struct Reply {
    limit: usize,
    /// Type byte of the value; 0 before it began.
    pub(super) kind: u8,
    error: Option<CommandError>,
    count: Option<u64>,
    /// First three elements of an array.
    heading: [Vec<u8>; 3],
    elements: usize,
    preview: String,
    /// The first [`TAGS`] elements of an array.
    parts: Vec<Part>,
    /// The first of them that is an error, and its place.
    failed: Option<(usize, CommandError)>,
    truncated: bool,
    /// Closing brackets of what is open.
    open: Vec<char>,
    /// The next value needs a comma before it.
    separate: bool,
    /// Aggregates of attributes, which are no part of the value, that are open.
    attributes: usize,
}

impl Reply {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            kind: 0,
            error: None,
            count: None,
            heading: [const { Vec::new() }; 3],
            elements: 0,
            preview: String::new(),
            parts: Vec::new(),
            failed: None,
            truncated: false,
            open: Vec::new(),
            separate: false,
            attributes: 0,
        }
    }

    /// Forgets the reply.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let parts = self.parts.len() * size_of::<Part>();
        self.preview.len() + self.heading.iter().map(Vec::len).sum::<usize>() + parts
    }

    /// One of the first three elements of an array.
    pub(super) fn element(&self, index: usize) -> &[u8] {
        self.heading.get(index).map_or(&[], Vec::as_slice)
    }

    /// A simple string, or its beginning.
    pub(super) fn text(&self) -> &str {
        &self.preview
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self.kind, b'-' | b'!')
    }

    /// Elements that there are.
    pub(super) fn count(&self) -> u64 {
        self.count.unwrap_or(0)
    }

    /// What is shown of an element of an array.
    pub(super) fn part(&self, index: usize) -> Option<&str> {
        let part = self.parts.get(index)?;
        self.preview.get(part.from..part.to)
    }

    /// The first element of an array that is an error, and its place.
    pub(super) const fn failed_part(&self) -> Option<&(usize, CommandError)> {
        self.failed.as_ref()
    }

    /// The result. `secret`: what it says is not to be shown.
    pub(super) fn take(&mut self, secret: bool) -> CommandResult {
        let reply = std::mem::replace(self, Self::new(self.limit));
        CommandResult {
            kind: kind_name(reply.kind),
            error: reply.error,
            count: reply.count,
            preview: if secret { String::new() } else { reply.preview },
            truncated: reply.truncated && !secret,
            ..CommandResult::default()
        }
    }

    fn show(&mut self, text: &str) {
        let room = self.limit.saturating_sub(self.preview.len());
        let end = boundary(text, room);
        self.truncated |= end < text.len();
        self.preview.push_str(text.get(..end).unwrap_or_default());
    }

    /// An element of an array begins, if it is one of the outermost.
    fn begin_part(&mut self, depth: usize) {
        if depth == 1 && self.kind == b'*' && self.parts.len() < TAGS {
            let from = self.preview.len();
            self.parts.push(Part { from, to: from });
        }
    }

    /// It ends.
    fn end_part(&mut self) {
        let to = self.preview.len();
        if let (1, Some(part)) = (self.open.len(), self.parts.last_mut()) {
            part.to = to;
        }
    }

    fn separate(&mut self) {
        if std::mem::replace(&mut self.separate, true) {
            self.show(", ");
        }
    }
}

impl Sink for Reply {
    fn room(&self) -> usize {
        if self.attributes > 0 {
            0
        } else if self.kind == 0 {
            self.limit.max(ERROR_BYTES)
        } else {
            // What is beyond the limit is not shown, but the first elements are needed.
            self.limit
                .saturating_sub(self.preview.len())
                .max(if self.elements < 3 { HEADING_BYTES } else { 0 })
        }
    }

    fn open(&mut self, kind: u8, length: Option<u64>, depth: usize) {
        if kind == b'|' || self.attributes > 0 {
            self.attributes += 1;
            return;
        }
        if depth == 0 || self.kind == 0 {
            self.kind = kind;
            self.count = match kind {
                b'$' => None,
                b'%' => length.map(|length| length / 2),
                _ => length,
            };
        } else {
            self.elements += 1;
            self.separate();
            self.begin_part(depth);
        }
        let brackets = match kind {
            b'$' => ("", None),
            b'%' => ("{", Some('}')),
            _ => ("[", Some(']')),
        };
        self.show(brackets.0);
        self.open.push(brackets.1.unwrap_or('\0'));
        // Parts of a string are not separated.
        self.separate = false;
    }

    fn leaf(&mut self, kind: u8, data: &[u8], total: u64, missing: u64, depth: usize) {
        if self.attributes > 0 {
            return;
        }
        if self.kind == 0 {
            self.kind = kind;
            if matches!(kind, b'-' | b'!') {
                let (error, is_cut) = error(data);
                self.error = Some(error);
                self.truncated |= is_cut;
            }
        }
        if depth > 0 {
            if let Some(heading) = self.heading.get_mut(self.elements) {
                *heading = data
                    .get(..HEADING_BYTES.min(data.len()))
                    .unwrap_or_default()
                    .to_vec();
            }
            if depth == 1 && matches!(kind, b'-' | b'!') && self.failed.is_none() {
                self.failed = Some((self.parts.len(), error(data).0));
            }
            self.elements += 1;
            if kind != b';' {
                self.separate();
                self.begin_part(depth);
            }
        }
        self.leaf_shown(kind, data, total, missing);
        if kind != b';' {
            self.end_part();
        }
    }

    fn shut(&mut self) {
        if self.attributes > 0 {
            self.attributes -= 1;
            return;
        }
        if let Some(bracket) = self.open.pop().filter(|bracket| *bracket != '\0') {
            self.show(bracket.encode_utf8(&mut [0; 4]));
        }
        self.end_part();
        self.separate = true;
    }
}

impl Reply {
    fn leaf_shown(&mut self, kind: u8, data: &[u8], total: u64, missing: u64) {
        if kind == b'_' {
            self.show("(nil)");
            return;
        }
        self.truncated |= (data.len() as u64) + missing < total;
        let (text, cut) = shown(data, self.limit);
        self.truncated |= cut;
        self.show(&text);
        if missing > 0 {
            let mut note = String::new();
            _ = write!(note, "({missing} bytes were not captured)");
            self.show(&note);
        }
    }
}

/// An error, and whether its text is cut.
fn error(data: &[u8]) -> (CommandError, bool) {
    let (message, is_cut) = shown(data, ERROR_BYTES);
    let code = message.split(' ').next().unwrap_or_default().to_owned();
    (CommandError { code, message }, is_cut)
}

/// The integer that an element is.
pub(super) fn integer(element: &[u8]) -> Option<u64> {
    number(element)?.try_into().ok()
}

/// Names of the types, as the specification of RESP has them.
const fn kind_name(kind: u8) -> &'static str {
    match kind {
        b'+' => "simple_string",
        b'-' => "error",
        b':' => "integer",
        b'$' => "bulk_string",
        b'*' => "array",
        b'_' => "null",
        b'#' => "boolean",
        b',' => "double",
        b'(' => "big_number",
        b'!' => "bulk_error",
        b'=' => "verbatim_string",
        b'%' => "map",
        b'~' => "set",
        b'>' => "push",
        _ => "unknown",
    }
}
