//! Statements in parts: words, literals, numbers, comments.

use super::Dialect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Keyword, name, quoted name.
    Word(&'a str),
    /// In single quotes or between dollars, quotes included.
    Literal(&'a str),
    /// A literal or quoted name that does not end.
    Open(&'a str),
    /// What begins with a digit.
    Number(&'a str),
    Comment(&'a str),
    Other(&'a str),
}

impl<'a> Token<'a> {
    pub(super) const fn text(self) -> &'a str {
        match self {
            Self::Word(text)
            | Self::Literal(text)
            | Self::Open(text)
            | Self::Number(text)
            | Self::Comment(text)
            | Self::Other(text) => text,
        }
    }
}

/// A dialect, and a setting of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) dialect: Dialect,
    /// A backslash in a literal takes the meaning off what follows.
    pub(super) escapes: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Word,
    Literal,
    Open,
    Number,
    Comment,
    Other,
}

/// All of a statement, in order, nothing left out.
pub(super) fn tokens(statement: &str, reading: Reading) -> Vec<Token<'_>> {
    use Dialect::{MySql, Postgres};
    let Reading { dialect, escapes } = reading;
    let mut tokens = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = match (first, dialect) {
            ('\'', Postgres) => literal(rest, escapes || is_escape(&tokens)),
            // Double quotes are of a literal too, unless a setting makes them those of a name.
            ('\'' | '"', MySql) => literal(rest, escapes),
            // A name that does not end hides a statement.
            ('"', Postgres) | ('`', MySql) => match quoted_name(rest, first) {
                Some(length) => (length, Kind::Word),
                None => (rest.len(), Kind::Open),
            },
            ('$', Postgres) => match dollar(rest) {
                Some(length) => (length, Kind::Literal),
                // `$1`, which stands for a parameter.
                None => (1 + digits(rest.get(1..).unwrap_or_default()), Kind::Other),
            },
            ('-', _) if is_comment(rest, dialect) => (rest.find('\n').unwrap_or(rest.len()), Kind::Comment),
            ('#', MySql) => (rest.find('\n').unwrap_or(rest.len()), Kind::Comment),
            ('/', _) if rest.starts_with("/*") => (comment(rest, dialect), Kind::Comment),
            // In hexadecimal.
            ('0', MySql) if rest.starts_with("0x") || rest.starts_with("0X") => (word(rest), Kind::Literal),
            ('0'..='9', _) => (number(rest), Kind::Number),
            (c, _) if is_word(c) => (word(rest), Kind::Word),
            (c, _) => (c.len_utf8(), Kind::Other),
        };
        let (token, after) = rest.split_at_checked(length.max(1)).unwrap_or((rest, ""));
        tokens.push(match kind {
            Kind::Word => Token::Word(token),
            Kind::Literal => Token::Literal(token),
            Kind::Open => Token::Open(token),
            Kind::Number => Token::Number(token),
            Kind::Comment => Token::Comment(token),
            Kind::Other => Token::Other(token),
        });
        rest = after;
    }
    tokens
}

/// Length of a word, or of a number up to its point.
fn word(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// Length of a number: `12`, `1.5`, `1.5e-3`, `0b1`.
fn number(text: &str) -> usize {
    let mut end = word(text);
    let after = |end: usize| text.get(end..).unwrap_or_default();
    if end == digits(text)
        && let Some(fraction) = after(end).strip_prefix('.')
    {
        end += 1 + word(fraction);
    }
    let has_exponent = text.get(..end).is_some_and(|text| text.ends_with(['e', 'E']));
    if has_exponent && let Some(exponent) = after(end).strip_prefix(['+', '-']) {
        end += 1 + digits(exponent);
    }
    end
}

/// Length of a comment, `/* … */`. In PostgreSQL there can be others inside.
fn comment(text: &str, dialect: Dialect) -> usize {
    let (mut at, mut depth) = (2, 1_usize);
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(['*', '/'])) {
        at += found;
        match text.get(at..at + 2) {
            Some("*/") => depth -= 1,
            Some("/*") if dialect == Dialect::Postgres => depth += 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn literal(text: &str, escapes: bool) -> (usize, Kind) {
    match quoted(text, escapes) {
        Some(length) => (length, Kind::Literal),
        None => (text.len(), Kind::Open),
    }
}

/// Whether `text` begins a comment. In MySQL something blank must follow the dashes.
fn is_comment(text: &str, dialect: Dialect) -> bool {
    text.strip_prefix("--").is_some_and(|rest| {
        let is_blank = |c: char| c.is_whitespace() || c.is_control();
        dialect == Dialect::Postgres || rest.is_empty() || rest.starts_with(is_blank)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a literal has backslash escapes: `E'…'`.
fn is_escape(tokens: &[Token<'_>]) -> bool {
    matches!(tokens.last(), Some(Token::Word("e" | "E")))
}

/// Length of a literal in the quotes that it begins with; a doubled quote is one of it.
fn quoted(text: &str, escapes: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.first()?;
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if escapes => at += 1,
            byte if *byte == quote && bytes.get(at + 1) == Some(&quote) => at += 1,
            byte if *byte == quote => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn quoted_name(text: &str, quote: char) -> Option<usize> {
    text.get(1..)?.find(quote).map(|end| end + 2)
}

/// Length of `$tag$…$tag$`.
fn dollar(text: &str) -> Option<usize> {
    let tag_end = text.get(1..)?.find('$')? + 2;
    let tag = text.get(..tag_end)?;
    let name = tag.get(1..tag_end - 1)?;
    if !name.chars().all(is_word) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let end = text
        .get(tag_end..)?
        .find(tag)
        .map_or(text.len(), |end| tag_end + end + tag_end);
    Some(end)
}
