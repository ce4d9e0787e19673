//! What standard output is.

use std::io::IsTerminal;

/// Columns assumed when standard output is not a terminal.
const DEFAULT_COLUMNS: u16 = 80;

/// What decides on the looks of console logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// A person is watching: `LogFormat::Auto` means console.
    pub is_terminal: bool,
    /// Escape sequences may be used.
    pub colour: bool,
    /// Width.
    pub columns: u16,
}

impl Terminal {
    /// Asks standard output and the environment: colour only on a terminal, not with `NO_COLOR` set to anything
    /// (no-color.org) and not when `TERM` is `dumb`.
    #[must_use]
    pub fn detect() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_terminal,
            colour: is_terminal && !refused,
            columns: terminal_size::terminal_size().map_or(DEFAULT_COLUMNS, |(width, _)| width.0),
        }
    }

    /// A pipe or a file.
    #[must_use]
    pub const fn piped() -> Self {
        Self {
            is_terminal: false,
            colour: false,
            columns: DEFAULT_COLUMNS,
        }
    }
}
