//! Statements of SQL as they are shown and remembered.

use crate::command::shown;
use crate::sql::{self, Dialect};
use crate::{Detail, sql::verb};

/// Statements that a session has prepared and that are remembered.
pub(crate) const ENTRIES: usize = 4096;
/// Text and columns of all of them. Beyond it only the beginning of each text is remembered.
pub(crate) const HELD_BYTES: usize = 4 << 20;
/// Text remembered of a statement once that is used up.
pub(crate) const SHORT_BYTES: usize = 256;

/// A statement, credentials masked, and literals where the user wants no values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) truncated: bool,
    /// A credential is masked.
    pub(crate) redacted: bool,
    /// What it returns is not shown, nor what an error quotes.
    pub(crate) hides_result: bool,
}

impl Statement {
    /// Of the text that was kept; `is_whole` if that is all.
    pub(crate) fn new(kept: &[u8], is_whole: bool, dialect: Dialect, detail: Detail) -> Self {
        let original = shown(kept, usize::MAX).0;
        let (mut text, redacted) = sql::masked(&original, dialect);
        if !detail.shows_values() {
            // Of the original: what stands in place of a credential is a literal too.
            text = sql::without_literals(&original, dialect);
        }
        Self {
            hides_result: redacted || !detail.shows_values() || sql::reads_accounts(&original, dialect),
            text,
            truncated: !is_whole,
            redacted,
        }
    }

    /// What stands for a command that has no text.
    pub(crate) fn named(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }

    /// One that was prepared before the capture began. What it returns may be what is not to be shown.
    pub(crate) fn unknown(detail: Detail) -> Self {
        Self {
            truncated: true,
            hides_result: !detail.shows_values(),
            ..Self::default()
        }
    }

    /// The beginning of it.
    pub(crate) fn shortened(&self) -> Self {
        Self {
            text: shown(self.text.as_bytes(), SHORT_BYTES).0,
            truncated: true,
            ..*self
        }
    }

    /// Whether parameters may be shown that it is run with: none of them can be a credential as far as the text tells.
    pub(crate) fn shows_parameters(&self, detail: Detail) -> bool {
        detail.shows_parameters() && !self.hides_result && !self.truncated && !verb(&self.text).is_empty()
    }
}
