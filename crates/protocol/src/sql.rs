//! Statements: their first word, and the literals that can be credentials.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::REDACTED;

/// How literals, names and comments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    /// Of MariaDB too.
    MySql,
}

/// Parts of words that name a credential.
const SECRET_PARTS: [&str; 7] = [
    "passw",
    "pwd",
    "identified",
    "secret",
    "credential",
    "apikey",
    "api_key",
];
/// Functions that are given one.
const SECRET_FUNCTIONS: [&str; 6] = [
    "crypt",
    "hmac",
    "pgp_sym_encrypt",
    "pgp_sym_decrypt",
    "aes_encrypt",
    "aes_decrypt",
];
/// Those of MySQL besides.
const MYSQL_FUNCTIONS: [&str; 9] = [
    "des_encrypt",
    "des_decrypt",
    "encrypt",
    "encode",
    "decode",
    "md5",
    "sha",
    "sha1",
    "sha2",
];

/// The first word in capitals; empty without one.
pub(crate) fn verb(statement: &str) -> String {
    let mut rest = statement;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '(' | ';'));
        let after = match () {
            () if rest.starts_with("--") => rest.split_once('\n').map(|(_, after)| after),
            // MySQL runs what is in such a comment, on servers of that version or newer.
            () if rest.starts_with("/*!") || rest.starts_with("/*M!") => rest
                .split_once('!')
                .map(|(_, after)| after.trim_start_matches(|c: char| c.is_ascii_digit())),
            () if rest.starts_with('#') => rest.split_once('\n').map(|(_, after)| after),
            () if rest.starts_with("/*") => rest.split_once("*/").map(|(_, after)| after),
            () => break,
        };
        rest = after.unwrap_or_default();
    }
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    rest.get(..end.min(32)).unwrap_or_default().to_ascii_uppercase()
}

/// The statement with all its literals masked if a word in it names a credential, or a literal holds one; and whether that was so.
/// More is masked than would be needed: which literal is the credential depends on the statement.
pub(crate) fn masked(statement: &str, dialect: Dialect) -> (String, bool) {
    if !may_be_secret(statement) {
        return (statement.to_owned(), false);
    }
    let readings: &[Reading] = match dialect {
        Dialect::Postgres => &[Reading::Postgres],
        // Whether a backslash escapes is a setting of the session.
        Dialect::MySql => &[
            Reading::MySql { escapes: true },
            Reading::MySql { escapes: false },
        ],
    };
    let readings: Vec<_> = readings
        .iter()
        .map(|reading| tokens(statement, *reading))
        .collect();
    let is_secret = readings.iter().flatten().any(|token| match token {
        Token::Word(word) => names_secret(word, dialect),
        // A connection string, or a statement inside of a literal.
        Token::Literal(text) | Token::Open(text) => {
            let text = text.to_ascii_lowercase();
            text.contains("passw") || text.contains("identified by") || has_user_info(&text)
        }
        Token::Other(_) => false,
    });
    if !is_secret {
        return (statement.to_owned(), false);
    }
    let is_same = readings
        .windows(2)
        .all(|pair| matches!(pair, [one, other] if one == other));
    let tokens = readings.into_iter().next().unwrap_or_default();
    let ends_open = matches!(tokens.last(), Some(Token::Open(_)));
    let is_literal = |token: &&Token<'_>| matches!(token, Token::Literal(_) | Token::Open(_));
    let has_own_end = tokens.iter().filter(is_literal).count() < 2;
    if !is_same || ends_open && !has_own_end {
        // A quote too many or too few: what is inside of literals and what is outside may be the wrong way round.
        return (format!("{} {REDACTED}", verb(statement)), true);
    }
    let parts = tokens.into_iter().map(|token| match token {
        Token::Word(text) | Token::Other(text) => text.to_owned(),
        Token::Literal(_) | Token::Open(_) => format!("'{REDACTED}'"),
    });
    (parts.collect(), true)
}

/// Whether anything of what names a credential stands in a statement at all: most are not looked at more closely.
fn may_be_secret(statement: &str) -> bool {
    /// Made once: making one costs more than to search a statement with it.
    static FINDERS: LazyLock<Vec<Finder<'static>>> = LazyLock::new(|| {
        let functions = SECRET_FUNCTIONS.iter().chain(&MYSQL_FUNCTIONS);
        let parts = SECRET_PARTS.iter().chain(functions).chain(&["://"]);
        parts.map(|part| Finder::new(part.as_bytes())).collect()
    });
    let text = statement.to_ascii_lowercase();
    FINDERS
        .iter()
        .any(|finder| finder.find(text.as_bytes()).is_some())
}

/// Whether what a statement of MySQL returns can hold hashes of passwords: accounts, and the statements that make them.
pub(crate) fn reads_accounts(statement: &str) -> bool {
    let text = statement.to_ascii_lowercase();
    let may_be = ["mysql", "show", "authentication_string"];
    if !may_be.iter().any(|part| text.contains(part)) {
        return false;
    }
    let plain: String = text.chars().filter(|c| *c != '`' && !c.is_whitespace()).collect();
    let parts = [
        "mysql.user",
        "mysql.global_priv",
        "mysql.servers",
        "mysql.slave_master_info",
        "authentication_string",
        "showgrants",
        "showcreateuser",
    ];
    parts.iter().any(|part| plain.contains(part))
}

/// A message of the server without what stands between its first quote and its last: MySQL quotes statements as they are.
pub(crate) fn masked_span(message: &str) -> String {
    let is_quote = |c: char| matches!(c, '\'' | '"' | '`');
    match (message.find(is_quote), message.rfind(is_quote)) {
        (Some(first), Some(last)) => {
            let (before, after) = (message.get(..first), message.get(last + 1..));
            format!(
                "{}{REDACTED}{}",
                before.unwrap_or_default(),
                after.unwrap_or_default()
            )
        }
        _ => message.to_owned(),
    }
}

/// What stands in quotes in a message of the server, masked: it can quote a statement.
pub(crate) fn masked_message(message: &str) -> String {
    let mut shown = String::new();
    for (index, part) in message.split('"').enumerate() {
        shown.push_str(if index % 2 == 0 { part } else { REDACTED });
    }
    masked_literals(&shown)
}

fn masked_literals(text: &str) -> String {
    let parts = tokens(text, Reading::Postgres)
        .into_iter()
        .map(|token| match token {
            Token::Word(text) | Token::Other(text) => text.to_owned(),
            Token::Literal(_) | Token::Open(_) => format!("'{REDACTED}'"),
        });
    parts.collect()
}

fn names_secret(word: &str, dialect: Dialect) -> bool {
    let word = word.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| word.contains(part))
        || SECRET_FUNCTIONS.contains(&word.as_str())
        || dialect == Dialect::MySql && MYSQL_FUNCTIONS.contains(&word.as_str())
}

/// `scheme://user:password@host`.
fn has_user_info(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority
            .split_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// Keyword, name, number, quoted name.
    Word(&'a str),
    /// In single quotes or between dollars, quotes included.
    Literal(&'a str),
    /// A literal or quoted name that does not end.
    Open(&'a str),
    Other(&'a str),
}

/// A dialect, and a setting of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Postgres,
    MySql { escapes: bool },
}

impl Reading {
    const fn dialect(self) -> Dialect {
        match self {
            Self::Postgres => Dialect::Postgres,
            Self::MySql { .. } => Dialect::MySql,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Word,
    Literal,
    Open,
    Comment,
    Other,
}

fn tokens(statement: &str, reading: Reading) -> Vec<Token<'_>> {
    let dialect = reading.dialect();
    let mut tokens = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = match (first, reading) {
            ('\'', Reading::Postgres) => literal(rest, is_escape(&tokens)),
            // Double quotes are of a literal too, unless a setting makes them those of a name.
            ('\'' | '"', Reading::MySql { escapes }) => literal(rest, escapes),
            // A name that does not end hides a statement.
            ('"', Reading::Postgres) | ('`', Reading::MySql { .. }) => match quoted_name(rest, first) {
                Some(length) => (length, Kind::Word),
                None => (rest.len(), Kind::Open),
            },
            ('$', Reading::Postgres) => match dollar(rest) {
                Some(length) => (length, Kind::Literal),
                None => (1, Kind::Other),
            },
            ('-', _) if is_comment(rest, dialect) => (rest.find('\n').unwrap_or(rest.len()), Kind::Comment),
            ('#', Reading::MySql { .. }) => (rest.find('\n').unwrap_or(rest.len()), Kind::Comment),
            ('/', _) if rest.starts_with("/*") => {
                (rest.find("*/").map_or(rest.len(), |end| end + 2), Kind::Comment)
            }
            (c, _) if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or_default();
                // In hexadecimal.
                let is_literal =
                    dialect == Dialect::MySql && (word.starts_with("0x") || word.starts_with("0X"));
                (length, if is_literal { Kind::Literal } else { Kind::Word })
            }
            (c, _) => (c.len_utf8(), Kind::Other),
        };
        let (token, after) = rest.split_at_checked(length.max(1)).unwrap_or((rest, ""));
        tokens.push(match kind {
            Kind::Word => Token::Word(token),
            Kind::Literal => Token::Literal(token),
            Kind::Open => Token::Open(token),
            // One can hold a statement that was put out of use, or that only some servers run.
            Kind::Comment if names_secret(token, dialect) => Token::Literal(token),
            Kind::Comment | Kind::Other => Token::Other(token),
        });
        rest = after;
    }
    tokens
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

#[cfg(test)]
#[path = "sql_tests.rs"]
mod tests;
