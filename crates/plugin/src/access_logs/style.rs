//! Colours.

use super::terminal::Terminal;

/// Colour of a transaction, by its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Blue,
    Yellow,
    Red,
    White,
}

impl Colour {
    pub(super) const fn of_status(status: Option<u16>) -> Self {
        match status {
            Some(200..=299) => Self::Green,
            Some(300..=399) => Self::Blue,
            Some(400..=499) => Self::Yellow,
            Some(500..=599) => Self::Red,
            _ => Self::White,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Blue => "34",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::White => "37",
        }
    }
}

/// Paints when the terminal takes colour.
#[derive(Clone, Copy)]
pub(super) struct Brush {
    pub(super) terminal: Terminal,
    pub(super) colour: Colour,
}

impl Brush {
    /// `text` in the colour of the transaction. `text` is already fit for a terminal.
    pub(super) fn paint(self, text: &str) -> String {
        self.with(self.colour.code(), text)
    }

    /// `text` in bold.
    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// `text` in yellow: something is missing.
    pub(super) fn warn(self, text: &str) -> String {
        self.with(Colour::Yellow.code(), text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.terminal.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Bytes for people: decimal units, `1.2 kB`.
pub(super) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut size = 1_000_u128;
    let mut tenths = in_tenths(bytes, size);
    let mut units = UNITS.into_iter();
    let mut name = units.next().unwrap_or_default();
    // Rounding first, so that 999,950 is 1.0 MB and not 1000.0 kB.
    while tenths >= 10_000
        && let Some(larger) = units.next()
    {
        size *= 1_000;
        tenths = in_tenths(bytes, size);
        name = larger;
    }
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

fn in_tenths(bytes: u64, size: u128) -> u128 {
    (u128::from(bytes) * 10 + size / 2) / size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1234, "1.2 kB"),
            (5321, "5.3 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_000_000, "1.0 MB"),
            (67_108_864, "67.1 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
