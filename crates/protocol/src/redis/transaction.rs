//! Commands between `MULTI` and `EXEC`, whose results come all at once (P-R4).

use super::queue::Pending;
use super::reply::Reply;
use crate::command::{TAGS, shown};
use crate::{CommandError, CommandResult};

/// Bytes kept of the text of a command.
const LABEL_BYTES: usize = 64;
/// Bytes shown of a result.
const VALUE_BYTES: usize = 128;

/// What is known of it.
#[derive(Debug)]
enum State {
    /// There is none.
    None,
    /// What was queued so far, the first [`TAGS`] of it.
    Open(Vec<String>),
    /// It may have begun unseen.
    Unknown,
}

/// The transaction of one connection.
#[derive(Debug)]
pub(super) struct Transaction {
    state: State,
    /// One of its results can hold a credential.
    is_secret: bool,
    /// The client asked for one that it did not end yet.
    is_asked: bool,
}

impl Transaction {
    pub(super) const fn new(midstream: bool) -> Self {
        Self {
            state: if midstream { State::Unknown } else { State::None },
            is_secret: false,
            is_asked: false,
        }
    }

    /// A command was sent. What it is to be called among the results, if it may be in a transaction.
    pub(super) fn asked(&mut self, name: &str, statement: impl FnOnce() -> String) -> Option<String> {
        match name {
            "MULTI" => self.is_asked = true,
            "EXEC" | "DISCARD" | "RESET" => self.is_asked = false,
            _ if self.is_asked => return Some(shown(statement().as_bytes(), LABEL_BYTES).0),
            _ => {}
        }
        None
    }

    /// A reply to `command` was read: takes note of what it does to the transaction.
    pub(super) fn answered(&mut self, command: &mut Pending, reply: &Reply) {
        match command.name.as_str() {
            "MULTI" if !reply.is_error() => self.begin(State::Open(Vec::new())),
            "DISCARD" | "RESET" if !reply.is_error() => self.begin(State::None),
            _ => {
                if let (State::Open(labels), b'+', "QUEUED") = (&mut self.state, reply.kind, reply.text()) {
                    self.is_secret |= command.is_secret;
                    if labels.len() < TAGS {
                        labels.push(command.label.take().unwrap_or_default());
                    }
                }
            }
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.is_secret = false;
    }

    /// Whether the reply to `EXEC` must not be shown: a credential is in it, or it is not known what is.
    pub(super) const fn hides_results(&self) -> bool {
        self.is_secret || !matches!(self.state, State::Open(_))
    }

    /// The reply to `EXEC` was read: adds the result of each command, and the first error among them.
    pub(super) fn executed(&mut self, reply: &Reply, is_shown: bool, result: &mut CommandResult) {
        let state = std::mem::replace(&mut self.state, State::None);
        self.is_secret = false;
        let (State::Open(labels), b'*') = (state, reply.kind) else {
            return;
        };
        result.truncated |= reply.count() > TAGS as u64;
        for (index, label) in labels.iter().enumerate() {
            let value = reply.part(index).unwrap_or_default();
            let (value, is_cut) = shown(value.as_bytes(), VALUE_BYTES);
            result.truncated |= is_cut;
            result.tag(match (label.as_str(), is_shown && !value.is_empty()) {
                ("", true) => value,
                (label, true) => format!("{label}: {value}"),
                (label, false) => label.to_owned(),
            });
        }
        if let Some((index, error)) = reply.failed_part() {
            let label = labels.get(*index).map_or("", String::as_str);
            result.error = Some(CommandError {
                code: error.code.clone(),
                message: format!("{label}: {}", error.message),
            });
        }
    }

    /// Commands or replies were lost.
    pub(super) fn lose(&mut self) {
        *self = Self::new(true);
    }
}
