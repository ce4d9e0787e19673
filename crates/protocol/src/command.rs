//! Commands of databases and queues, and what they came to. Every protocol of that kind reports in these terms.

use std::borrow::Cow;

use crate::{Counts, Time};

/// Stands where a credential was.
pub const REDACTED: &str = "[REDACTED]";

/// What was asked. Credentials are already masked: what a parser does not hand out cannot leak further on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is done: the name of the command as sent (Redis), the first word of the statement in capitals (SQL). Empty when it could
    /// not be learned.
    pub name: String,
    /// The whole of it.
    pub text: CommandText,
    /// Name of the prepared statement that it runs.
    pub prepared: Option<String>,
    /// Values of the parameters that it runs that with, where they are shown: `NULL` for none, the length in brackets for what is no
    /// text.
    pub parameters: Vec<String>,
    /// What the connection works on, as far as known.
    pub session: Session,
    /// The text is not all of it, because of a limit.
    pub truncated: bool,
    /// Something in it is masked.
    pub redacted: bool,
}

/// Text of a command. Bytes that are not UTF-8 are U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandText {
    /// A name and its arguments.
    Words(Vec<String>),
    /// A statement.
    Statement(String),
}

impl Command {
    /// The whole as one text: words joined by spaces.
    #[must_use]
    pub fn statement(&self) -> Cow<'_, str> {
        match &self.text {
            CommandText::Words(words) => words.join(" ").into(),
            CommandText::Statement(text) => text.into(),
        }
    }

    /// What follows the name; nothing for statements.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        match &self.text {
            CommandText::Words(words) => words.get(1..).unwrap_or_default(),
            CommandText::Statement(_) => &[],
        }
    }

    /// Bytes of text that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.text {
            CommandText::Words(words) => words.iter().map(String::len).sum(),
            CommandText::Statement(text) => text.len(),
        }
    }

    /// Cuts the text to its first `bytes`, or a few less, between characters.
    pub fn cut(&mut self, bytes: usize) {
        self.truncated |= self.held() > bytes;
        match &mut self.text {
            CommandText::Statement(text) => text.truncate(boundary(text, bytes)),
            CommandText::Words(words) => {
                let mut room = bytes;
                let cut = words.iter().position(|word| {
                    let fits = word.len() <= room;
                    room -= word.len().min(room) * usize::from(fits);
                    !fits
                });
                if let Some(index) = cut {
                    words.truncate(index + 1);
                    if let Some(word) = words.last_mut() {
                        word.truncate(boundary(word, room));
                    }
                }
            }
        }
    }
}

/// The greatest character boundary of `text` at or before `bytes`.
pub(crate) fn boundary(text: &str, bytes: usize) -> usize {
    let end = bytes.min(text.len());
    (0..=end).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// State of a session that commands depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Database: its name, or its number for Redis.
    pub database: Option<std::sync::Arc<str>>,
    /// User, where the protocol sends it apart from the credential.
    pub user: Option<std::sync::Arc<str>>,
    /// Name that the client gave itself.
    pub client: Option<std::sync::Arc<str>>,
}

/// What a command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandResult {
    /// Kind in the protocol's own terms: `integer`, `CommandComplete`, …
    pub kind: &'static str,
    /// What failed.
    pub error: Option<CommandError>,
    /// Rows changed.
    pub affected: Option<u64>,
    /// Id that the server made for a row that was inserted.
    pub insert_id: Option<u64>,
    /// Rows or elements returned.
    pub count: Option<u64>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// What the server said of each statement, where one command can hold several: `INSERT 0 1`.
    pub tags: Vec<String>,
    /// First part of what was returned, for people: a value, or rows of values.
    pub preview: String,
    /// `preview`, `columns` or `tags` are not all of it, because of a limit.
    pub truncated: bool,
    /// State of the transaction that the session was in afterwards: `idle`, `transaction` or `failed`.
    pub transaction: Option<&'static str>,
    /// How long the server asks the client to keep still, in milliseconds; absent when it does not.
    pub throttle_ms: Option<u32>,
    /// How long the server may have waited for something to return, as the command allowed it to, in nanoseconds.
    pub waited_ns: Option<u64>,
}

impl CommandResult {
    /// Adds to the preview, as far as it fits in `limit` bytes.
    pub(crate) fn show(&mut self, text: &str, limit: usize) {
        let end = boundary(text, limit.saturating_sub(self.preview.len()));
        self.truncated |= end < text.len();
        self.preview.push_str(text.get(..end).unwrap_or_default());
    }

    /// Adds a tag, as far as there is room for more.
    pub(crate) fn tag(&mut self, tag: String) {
        if self.tags.len() < TAGS {
            self.tags.push(tag);
        } else {
            self.truncated = true;
        }
    }

    /// Adds the name of a column, as far as there is room for more.
    pub(crate) fn column(&mut self, name: String) {
        if self.columns.len() < COLUMNS {
            self.columns.push(name);
        } else {
            self.truncated = true;
        }
    }
}

/// An error of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Code: SQLSTATE, number of an error of MySQL, or the first word of one of Redis. Empty without one.
    pub code: String,
    /// Text, cut to a few KiB.
    pub message: String,
}

/// Sizes and times of a finished command (P-T1, P-T3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTraffic {
    /// Bytes from the client.
    pub request: Counts,
    /// Bytes from the server.
    pub response: Counts,
    /// First byte from the server.
    pub first_byte: Option<Time>,
    /// Last byte from the server.
    pub last_byte: Option<Time>,
}

/// Tags kept of a result.
pub(crate) const TAGS: usize = 256;
/// Names of columns kept of a result.
pub(crate) const COLUMNS: usize = 256;
/// Text kept of the name of a column.
pub(crate) const NAME_BYTES: usize = 256;
/// Text kept of an error.
pub(crate) const ERROR_BYTES: usize = 4096;

/// `bytes` as text of at most `limit` bytes, and whether it was cut.
pub(crate) fn shown(bytes: &[u8], limit: usize) -> (String, bool) {
    let (text, is_cut) = excerpt(bytes, limit);
    (text.into_owned(), is_cut)
}

/// The same, without a copy where the bytes are text.
pub(crate) fn excerpt(bytes: &[u8], limit: usize) -> (Cow<'_, str>, bool) {
    // A cut character must not become a replacement that looks like a fault of the sender.
    let window = bytes.get(..limit.saturating_add(4)).unwrap_or(bytes);
    // Most texts are what they should be, and to see that is faster than to look for where they are not.
    let text = std::str::from_utf8(window).map_or_else(|_| String::from_utf8_lossy(window), Cow::Borrowed);
    let end = boundary(&text, limit);
    let is_cut = bytes.len() > window.len() || end < text.len();
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    };
    (text, is_cut)
}

/// A value of `length` bytes, of which `kept` is the beginning, as text; or its length, if it is no text.
pub(crate) fn value(kept: &[u8], length: usize) -> Cow<'_, str> {
    match std::str::from_utf8(kept) {
        Ok(text) if memchr::memchr(0, text.as_bytes()).is_none() => Cow::Borrowed(text),
        _ if kept.len() < length => shown(kept, usize::MAX).0.into(),
        _ => bytes_of(length).into(),
    }
}

/// Stands for a value that cannot be shown.
pub(crate) fn bytes_of(length: usize) -> String {
    format!("({length} bytes)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_between_characters() {
        let mut command = Command {
            name: "SET".into(),
            text: CommandText::Words(vec!["SET".into(), "grüße".into(), "x".into()]),
            prepared: None,
            parameters: Vec::new(),
            session: Session::default(),
            truncated: false,
            redacted: false,
        };
        command.cut(6);
        assert_eq!(
            (command.statement().as_ref(), command.truncated),
            ("SET gr", true)
        );
        assert_eq!(shown("grüße".as_bytes(), 3), ("gr".into(), true));
        assert_eq!(shown(b"abc", 3), ("abc".into(), false));
    }
}
