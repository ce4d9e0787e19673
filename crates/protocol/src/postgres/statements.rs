//! Prepared statements and portals of a session (P-Pg2, P-Pg4).

use std::collections::HashMap;
use std::sync::Arc;

use super::columns::{Columns, Formats};
use super::values::Oid;
use crate::Detail;
use crate::statement::{ENTRIES, HELD_BYTES, SHORT_BYTES, Statement};

/// Portals remembered. Each can hold the text of a statement that was prepared anew since.
const PORTALS: usize = 256;
/// Parameters whose types are remembered: a message can have no more.
const PARAMETERS: usize = 65_535;

/// Which statement, and which portal made of it, a `Describe` or an `Execute` is about. No number is used twice; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) statement: u64,
    pub(super) portal: u64,
}

/// A statement with a name.
#[derive(Debug)]
struct Prepared {
    number: u64,
    statement: Arc<Statement>,
    columns: Option<Arc<Columns>>,
    parameters: Arc<[Oid]>,
}

impl Prepared {
    fn held(&self) -> usize {
        let columns = self.columns.as_ref().map_or(0, |columns| columns.held());
        self.statement.text.len() + columns + self.parameters.len() * size_of::<Oid>()
    }
}

/// What a portal runs.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) statement: Arc<Statement>,
    /// Name of the prepared statement; empty for the unnamed one.
    pub(super) name: Arc<str>,
    pub(super) source: Source,
    pub(super) columns: Option<Arc<Columns>>,
    pub(super) formats: Formats,
    pub(super) parameters: Arc<[String]>,
}

impl Bound {
    fn unknown(name: &[u8], detail: Detail) -> Self {
        Self {
            statement: Arc::new(Statement::unknown(detail)),
            name: String::from_utf8_lossy(name).into(),
            source: Source::default(),
            columns: None,
            formats: Formats::Unknown,
            parameters: Arc::default(),
        }
    }
}

/// Of one session.
#[derive(Debug)]
pub(super) struct Statements {
    detail: Detail,
    prepared: HashMap<Vec<u8>, Prepared>,
    portals: HashMap<Vec<u8>, Bound>,
    /// Names of SQL-level statements that hold a credential.
    secret: Vec<String>,
    held: usize,
    numbers: u64,
}

impl Statements {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            detail,
            prepared: HashMap::new(),
            portals: HashMap::new(),
            secret: Vec::new(),
            held: 0,
            numbers: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A statement was parsed under a name; the client said of which types its first parameters are.
    pub(super) fn prepare(&mut self, name: &[u8], statement: &Arc<Statement>, parameters: Vec<Oid>) {
        self.forget(name);
        if self.prepared.len() >= ENTRIES {
            return;
        }
        let is_long = self.held + statement.text.len() > HELD_BYTES && statement.text.len() > SHORT_BYTES;
        let statement = if is_long {
            Arc::new(statement.shortened())
        } else {
            Arc::clone(statement)
        };
        let prepared = Prepared {
            number: self.number(),
            statement,
            columns: None,
            parameters: parameters.into(),
        };
        self.held += prepared.held();
        self.prepared.insert(name.to_vec(), prepared);
    }

    /// A portal is made of a statement. `read` takes the values of its parameters, whose types are given, if they are to be shown, and
    /// the formats of its result.
    pub(super) fn bind(
        &mut self,
        portal: &[u8],
        name: &[u8],
        read: impl FnOnce(&[Oid], bool) -> (Vec<String>, Formats),
    ) {
        if self.portals.len() >= PORTALS && !self.portals.contains_key(portal) {
            self.portals.clear();
        }
        let number = self.number();
        let mut bound = Bound::unknown(name, self.detail);
        bound.source.portal = number;
        let (parameters, formats) = match self.prepared.get(name) {
            Some(known) => {
                bound.statement = Arc::clone(&known.statement);
                bound.source.statement = known.number;
                bound.columns.clone_from(&known.columns);
                read(&known.parameters, known.statement.shows_parameters(self.detail))
            }
            None => read(&[], false),
        };
        bound.parameters = parameters.into();
        bound.formats = formats;
        self.portals.insert(portal.to_vec(), bound);
    }

    /// What a portal runs.
    pub(super) fn portal(&self, portal: &[u8]) -> Bound {
        let known = self.portals.get(portal).cloned();
        known.unwrap_or_else(|| Bound::unknown(b"", self.detail))
    }

    /// The statement of this name.
    pub(super) fn source(&self, name: &[u8]) -> Source {
        let statement = self.prepared.get(name).map_or(0, |known| known.number);
        Source { statement, portal: 0 }
    }

    /// The server told the columns of a portal, or those of a statement.
    pub(super) fn describe(&mut self, source: Source, columns: &Arc<Columns>) {
        for bound in self
            .portals
            .values_mut()
            .filter(|bound| is_of(source, bound.source))
        {
            bound.columns = Some(Arc::clone(columns));
        }
        if source.portal == 0 && self.held + columns.held() <= HELD_BYTES {
            self.change(source, |known| known.columns = Some(Arc::clone(columns)));
        }
    }

    /// The server told the types of the parameters of a statement.
    pub(super) fn describe_parameters(&mut self, source: Source, kinds: &[Oid]) {
        if kinds.len() <= PARAMETERS && self.held + size_of_val(kinds) <= HELD_BYTES {
            self.change(source, |known| known.parameters = kinds.into());
        }
    }

    fn change(&mut self, source: Source, change: impl FnOnce(&mut Prepared)) {
        let mut all = self.prepared.values_mut();
        if let Some(known) = all.find(|known| known.number == source.statement) {
            self.held -= known.held();
            change(known);
            self.held += known.held();
        }
    }

    /// A statement is closed.
    pub(super) fn forget(&mut self, name: &[u8]) {
        if let Some(former) = self.prepared.remove(name) {
            self.held -= former.held();
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

    /// All of the session are gone. Numbers go on: replies to what was asked before are still to come.
    pub(super) fn forget_all(&mut self) {
        *self = Self {
            numbers: self.numbers,
            ..Self::new(self.detail)
        };
    }
}

/// Whether what is told of `told` is of `asked` too.
pub(super) fn is_of(told: Source, asked: Source) -> bool {
    match told.portal {
        0 => told.statement != 0 && told.statement == asked.statement,
        portal => portal == asked.portal,
    }
}
