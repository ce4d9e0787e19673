//! How much of commands and results is shown: what the user chose for a protocol.

/// Which of the values that commands carry and return are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// None: arguments of Redis and literals of SQL read [`HIDDEN`], nothing of results is shown, and what errors quote is masked.
    None,
    /// Keys: those of Redis, those of messages of Kafka. SQL has none.
    Keys,
    /// All.
    #[default]
    Full,
}

/// What is shown of the commands of one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Which values.
    pub values: Values,
    /// Parameters that prepared statements are run with (P-My4, P-Pg7). They are values too.
    pub parameters: bool,
    /// A string of several statements is one command for each of them (P-Pg1).
    pub split_statements: bool,
}

impl Detail {
    /// Whether values are shown.
    pub(crate) fn shows_values(self) -> bool {
        self.values == Values::Full
    }

    /// Whether parameters are shown.
    pub(crate) fn shows_parameters(self) -> bool {
        self.parameters && self.shows_values()
    }
}

/// Stands where a value was.
pub const HIDDEN: &str = "?";
