//! Prepared statements of a session (P-My4).

use std::collections::HashMap;
use std::sync::Arc;

use super::values::Columns;
use crate::command::shown;
use crate::sql::{self, Dialect};

/// Statements remembered; the one unused for longest is forgotten first.
const ENTRIES: usize = 4096;
/// Text and columns of all of them. Beyond it only the beginning of each is remembered.
const HELD_BYTES: usize = 4 << 20;
/// Text remembered of a statement once that is used up.
const SHORT_BYTES: usize = 256;

/// A statement, credentials masked.
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) truncated: bool,
    pub(super) redacted: bool,
    /// What it returns can hold a credential, and so can the text of an error.
    pub(super) hides_result: bool,
}

impl Statement {
    /// Of the text that was kept; `is_whole` if that is all.
    pub(super) fn new(kept: &[u8], is_whole: bool) -> Self {
        let original = shown(kept, usize::MAX).0;
        let (text, redacted) = sql::masked(&original, Dialect::MySql);
        Self {
            hides_result: redacted || sql::reads_accounts(&original),
            text,
            truncated: !is_whole,
            redacted,
        }
    }

    /// What stands for a command that has no text.
    pub(super) fn named(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }

    /// One that was prepared before the capture began.
    fn unknown() -> Self {
        Self {
            truncated: true,
            ..Self::default()
        }
    }
}

#[derive(Debug)]
struct Prepared {
    statement: Arc<Statement>,
    columns: Option<Arc<Columns>>,
    used: u64,
}

impl Prepared {
    fn held(&self) -> usize {
        self.statement.text.len() + self.columns.as_ref().map_or(0, |columns| columns.held())
    }
}

/// Of one session.
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: HashMap<u32, Prepared>,
    /// The newest that the client asked to prepare, whether answered or not.
    latest: Option<Arc<Statement>>,
    /// Id of the newest that was answered.
    latest_id: Option<u32>,
    held: usize,
    uses: u64,
}

impl Statements {
    /// The client asks to prepare one.
    pub(super) fn ask(&mut self, statement: &Arc<Statement>) {
        self.latest = Some(Arc::clone(statement));
    }

    /// The newest asked for; of an unknown one the text is empty.
    pub(super) fn latest(&self) -> Arc<Statement> {
        let unknown = || Arc::new(Statement::unknown());
        self.latest.clone().unwrap_or_else(unknown)
    }

    /// Id of the newest that was answered.
    pub(super) const fn latest_id(&self) -> Option<u32> {
        self.latest_id
    }

    /// The server prepared one under this id.
    pub(super) fn prepare(&mut self, id: u32, statement: &Arc<Statement>) {
        self.forget(id);
        if self.prepared.len() >= ENTRIES {
            let oldest = self.prepared.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.forget(oldest);
            }
        }
        let is_long = self.held + statement.text.len() > HELD_BYTES && statement.text.len() > SHORT_BYTES;
        let statement = if is_long {
            Arc::new(Statement {
                text: shown(statement.text.as_bytes(), SHORT_BYTES).0,
                truncated: true,
                ..**statement
            })
        } else {
            Arc::clone(statement)
        };
        self.latest_id = Some(id);
        self.uses += 1;
        let prepared = Prepared {
            statement,
            columns: None,
            used: self.uses,
        };
        self.held += prepared.held();
        self.prepared.insert(id, prepared);
    }

    /// The one with this id; of an unknown one the text is empty.
    pub(super) fn get(&mut self, id: u32) -> (Arc<Statement>, Option<Arc<Columns>>) {
        self.uses += 1;
        match self.prepared.get_mut(&id) {
            Some(known) => {
                known.used = self.uses;
                (Arc::clone(&known.statement), known.columns.clone())
            }
            None => (Arc::new(Statement::unknown()), None),
        }
    }

    /// Columns that its rows have, for rows that come without.
    pub(super) fn describe(&mut self, id: u32, columns: Arc<Columns>) {
        if self.held + columns.held() > HELD_BYTES {
            return;
        }
        if let Some(known) = self.prepared.get_mut(&id) {
            self.held -= known.held();
            known.columns = Some(columns);
            self.held += known.held();
        }
    }

    /// A statement is closed.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some(former) = self.prepared.remove(&id) {
            self.held -= former.held();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Arc<Statement> {
        Arc::new(Statement::new(text.as_bytes(), true))
    }

    #[test]
    fn p_my4_the_statement_unused_for_longest_is_forgotten() {
        let mut statements = Statements::default();
        for id in 0..4096 {
            statements.prepare(id, &statement(&format!("select {id}")));
        }
        assert_eq!(statements.get(0).0.text, "select 0");
        statements.prepare(4096, &statement("select 4096"));
        assert_eq!(statements.get(0).0.text, "select 0");
        assert_eq!(statements.get(4096).0.text, "select 4096");
        let gone = statements.get(1).0;
        assert_eq!((gone.text.as_str(), gone.truncated), ("", true));
        for id in 0..=4096 {
            statements.forget(id);
        }
        assert_eq!(statements.held, 0);
    }

    #[test]
    fn long_statements_are_shortened_once_there_are_many() {
        let mut statements = Statements::default();
        let long = "x".repeat(64 << 10);
        for id in 0..70 {
            statements.prepare(id, &statement(&long));
        }
        assert_eq!(statements.get(0).0.text.len(), 64 << 10);
        let last = statements.get(69).0;
        assert_eq!((last.text.len(), last.truncated), (SHORT_BYTES, true));
        assert!(statements.held <= HELD_BYTES + 70 * SHORT_BYTES);
    }
}
