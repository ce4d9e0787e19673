//! Replies: kind, error, count, and the beginning of the value for people.

use std::fmt::Write;

use super::reader::{Sink, number};
use crate::command::{ERROR_BYTES, boundary, shown};
use crate::{CommandError, CommandResult};

/// Bytes kept of the first strings of an array, which tell what a message of publish and subscribe is about.
const HEADING_BYTES: usize = 1024;

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
        self.preview.len() + self.heading.iter().map(Vec::len).sum::<usize>()
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
                let (message, cut) = shown(data, ERROR_BYTES);
                let code = message.split(' ').next().unwrap_or_default().to_owned();
                self.error = Some(CommandError { code, message });
                self.truncated |= cut;
            }
        }
        if depth > 0 {
            if let Some(heading) = self.heading.get_mut(self.elements) {
                *heading = data
                    .get(..HEADING_BYTES.min(data.len()))
                    .unwrap_or_default()
                    .to_vec();
            }
            self.elements += 1;
            if kind != b';' {
                self.separate();
            }
        }
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

    fn shut(&mut self) {
        if self.attributes > 0 {
            self.attributes -= 1;
            return;
        }
        if let Some(bracket) = self.open.pop().filter(|bracket| *bracket != '\0') {
            self.show(bracket.encode_utf8(&mut [0; 4]));
        }
        self.separate = true;
    }
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
