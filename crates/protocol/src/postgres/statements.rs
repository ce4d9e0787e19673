//! Prepared statements and portals of a session (P-Pg2, P-Pg4).

use std::collections::HashMap;
use std::sync::Arc;

use crate::command::shown;
use crate::sql;

/// Statements and portals remembered of each kind.
const ENTRIES: usize = 4096;
/// Text of all statements of a session. Beyond it only the beginning of each is remembered.
const TEXT_BYTES: usize = 4 << 20;
/// Text remembered of a statement once that is used up.
const SHORT_BYTES: usize = 256;

/// A statement, credentials masked.
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) truncated: bool,
    pub(super) redacted: bool,
}

impl Statement {
    /// Of the text that was kept; `is_whole` if that is all.
    pub(super) fn new(kept: &[u8], is_whole: bool) -> Self {
        let (text, redacted) = sql::masked(&shown(kept, usize::MAX).0, sql::Dialect::Postgres);
        Self {
            text,
            truncated: !is_whole,
            redacted,
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

/// What a portal runs.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) statement: Arc<Statement>,
    /// Name of the prepared statement; empty for the unnamed one.
    pub(super) name: Arc<str>,
}

/// Of one session.
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: HashMap<Vec<u8>, Arc<Statement>>,
    portals: HashMap<Vec<u8>, Bound>,
    /// Names of SQL-level statements that hold a credential.
    secret: Vec<String>,
    held: usize,
}

impl Statements {
    /// A statement was parsed under a name.
    pub(super) fn prepare(&mut self, name: &[u8], statement: &Arc<Statement>) {
        self.forget(name);
        if self.prepared.len() >= ENTRIES {
            return;
        }
        let is_long = self.held + statement.text.len() > TEXT_BYTES && statement.text.len() > SHORT_BYTES;
        let kept = if is_long {
            let text = shown(statement.text.as_bytes(), SHORT_BYTES).0;
            Arc::new(Statement {
                text,
                truncated: true,
                redacted: statement.redacted,
            })
        } else {
            Arc::clone(statement)
        };
        self.held += kept.text.len();
        self.prepared.insert(name.to_vec(), kept);
    }

    /// A portal was made of a statement.
    pub(super) fn bind(&mut self, portal: &[u8], name: &[u8]) {
        if self.portals.len() >= ENTRIES && !self.portals.contains_key(portal) {
            self.portals.clear();
        }
        let known = self.prepared.get(name).cloned();
        let bound = Bound {
            statement: known.unwrap_or_else(|| Arc::new(Statement::unknown())),
            name: String::from_utf8_lossy(name).into(),
        };
        self.portals.insert(portal.to_vec(), bound);
    }

    /// What a portal runs.
    pub(super) fn portal(&self, portal: &[u8]) -> Bound {
        self.portals.get(portal).cloned().unwrap_or_else(|| Bound {
            statement: Arc::new(Statement::unknown()),
            name: "".into(),
        })
    }

    /// A statement is closed.
    pub(super) fn forget(&mut self, name: &[u8]) {
        if let Some(former) = self.prepared.remove(name) {
            self.held -= former.text.len();
        }
    }

    /// A portal is closed.
    pub(super) fn forget_portal(&mut self, portal: &[u8]) {
        self.portals.remove(portal);
    }

    /// A statement of SQL that makes, runs or drops others (P-Pg4). Returns the name of the one that it runs, and whether that holds
    /// a credential.
    pub(super) fn note(&mut self, statement: &Statement) -> Option<(String, bool)> {
        let mut words = statement
            .text
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ';'));
        let mut words = words.by_ref().filter(|word| !word.is_empty());
        let verb = words.next()?.to_ascii_uppercase();
        let name = words.next().unwrap_or_default().trim_matches('"').to_owned();
        match verb.as_str() {
            "PREPARE" => {
                self.secret.retain(|known| *known != name);
                if statement.redacted && self.secret.len() < ENTRIES {
                    self.secret.push(name);
                }
            }
            "EXECUTE" => {
                let is_secret = self.secret.contains(&name);
                return Some((name, is_secret));
            }
            "DISCARD" if name.eq_ignore_ascii_case("all") => self.forget_all(),
            "DEALLOCATE" => {
                let name = if name.eq_ignore_ascii_case("prepare") {
                    words.next().unwrap_or_default().trim_matches('"').to_owned()
                } else {
                    name
                };
                if name.eq_ignore_ascii_case("all") {
                    self.forget_all();
                }
                self.forget(name.as_bytes());
            }
            _ => {}
        }
        None
    }

    fn forget_all(&mut self) {
        *self = Self::default();
    }
}
