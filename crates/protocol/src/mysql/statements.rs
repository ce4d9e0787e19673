//! Prepared statements of a session (P-My4).

use std::collections::HashMap;
use std::sync::Arc;

use super::parameters::Layout;
use super::values::Columns;
use crate::Detail;
use crate::statement::{ENTRIES, HELD_BYTES, SHORT_BYTES, Statement};

#[derive(Debug)]
struct Prepared {
    statement: Arc<Statement>,
    columns: Option<Arc<Columns>>,
    /// What is known of its parameters.
    layout: Layout,
    used: u64,
}

impl Prepared {
    fn held(&self) -> usize {
        let columns = self.columns.as_ref().map_or(0, |columns| columns.held());
        self.statement.text.len() + columns + self.layout.held()
    }
}

/// Of one session.
#[derive(Debug)]
pub(super) struct Statements {
    detail: Detail,
    prepared: HashMap<u32, Prepared>,
    /// The newest that the client asked to prepare, whether answered or not.
    latest: Option<Arc<Statement>>,
    /// Id of the newest that was answered.
    latest_id: Option<u32>,
    held: usize,
    uses: u64,
}

impl Statements {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            detail,
            prepared: HashMap::new(),
            latest: None,
            latest_id: None,
            held: 0,
            uses: 0,
        }
    }

    /// All of the session are gone.
    pub(super) fn forget_all(&mut self) {
        *self = Self::new(self.detail);
    }

    /// The client asks to prepare one.
    pub(super) fn ask(&mut self, statement: &Arc<Statement>) {
        self.latest = Some(Arc::clone(statement));
    }

    /// The newest asked for; of an unknown one the text is empty.
    pub(super) fn latest(&self) -> Arc<Statement> {
        let unknown = || Arc::new(Statement::unknown(self.detail));
        self.latest.clone().unwrap_or_else(unknown)
    }

    /// Id of the newest that was answered.
    pub(super) const fn latest_id(&self) -> Option<u32> {
        self.latest_id
    }

    /// The server prepared one under this id, with so many parameters.
    pub(super) fn prepare(&mut self, id: u32, statement: &Arc<Statement>, parameters: u16) {
        self.forget(id);
        if self.prepared.len() >= ENTRIES {
            let oldest = self.prepared.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.forget(oldest);
            }
        }
        let is_long = self.held + statement.text.len() > HELD_BYTES && statement.text.len() > SHORT_BYTES;
        let statement = if is_long {
            Arc::new(statement.shortened())
        } else {
            Arc::clone(statement)
        };
        self.latest_id = Some(id);
        self.uses += 1;
        let prepared = Prepared {
            statement,
            columns: None,
            layout: Layout::new(parameters),
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
            None => (Arc::new(Statement::unknown(self.detail)), None),
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

    /// The client runs the statement with this id: takes, or passes over, the values of its parameters. `None` where they are not to be
    /// shown.
    pub(super) fn parameters<T>(&mut self, id: u32, read: impl FnOnce(&mut Layout, bool) -> T) -> Option<T> {
        let detail = self.detail;
        let known = self.prepared.get_mut(&id)?;
        self.held -= known.held();
        let taken = read(&mut known.layout, known.statement.shows_parameters(detail));
        self.held += known.held();
        Some(taken)
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
        let detail = Detail::default();
        Arc::new(Statement::new(
            text.as_bytes(),
            true,
            crate::sql::Dialect::MySql,
            detail,
        ))
    }

    #[test]
    fn p_my4_the_statement_unused_for_longest_is_forgotten() {
        let mut statements = Statements::new(Detail::default());
        for id in 0..4096 {
            statements.prepare(id, &statement(&format!("select {id}")), 0);
        }
        assert_eq!(statements.get(0).0.text, "select 0");
        statements.prepare(4096, &statement("select 4096"), 0);
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
        let mut statements = Statements::new(Detail::default());
        let long = "x".repeat(64 << 10);
        for id in 0..70 {
            statements.prepare(id, &statement(&long), 0);
        }
        assert_eq!(statements.get(0).0.text.len(), 64 << 10);
        let last = statements.get(69).0;
        assert_eq!((last.text.len(), last.truncated), (SHORT_BYTES, true));
        assert!(statements.held <= HELD_BYTES + 70 * SHORT_BYTES);
    }
}
