//! Statements: their first word, and the literals that can be credentials.

mod tokens;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use self::tokens::{Reading, Token, tokens};
use crate::{HIDDEN, REDACTED};

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
    let readings = readings(dialect).map(|reading| tokens(statement, reading));
    let is_secret = readings.iter().flatten().any(|token| match token {
        Token::Word(word) | Token::Comment(word) => names_secret(word, dialect),
        // A connection string, or a statement inside of a literal.
        Token::Literal(text) | Token::Open(text) => {
            let text = text.to_ascii_lowercase();
            text.contains("passw") || text.contains("identified by") || has_user_info(&text)
        }
        Token::Number(_) | Token::Other(_) => false,
    });
    if !is_secret {
        return (statement.to_owned(), false);
    }
    let Some(tokens) = certain(readings) else {
        return (format!("{} {REDACTED}", verb(statement)), true);
    };
    let parts = tokens.into_iter().map(|token| match token {
        // One can hold a statement that was put out of use, or that only some servers run.
        Token::Comment(text) if names_secret(text, dialect) => format!("'{REDACTED}'"),
        Token::Word(text) | Token::Number(text) | Token::Comment(text) | Token::Other(text) => {
            text.to_owned()
        }
        Token::Literal(_) | Token::Open(_) => format!("'{REDACTED}'"),
    });
    (parts.collect(), true)
}

/// Whether a backslash escapes is a setting of the session.
const fn readings(dialect: Dialect) -> [Reading; 2] {
    [
        Reading {
            dialect,
            escapes: true,
        },
        Reading {
            dialect,
            escapes: false,
        },
    ]
}

/// The tokens, if it is certain which these are: not with a quote too many or too few, where what is inside of literals and what is
/// outside may be the wrong way round.
fn certain(readings: [Vec<Token<'_>>; 2]) -> Option<Vec<Token<'_>>> {
    let [tokens, other] = readings;
    let ends_open = matches!(tokens.last(), Some(Token::Open(_)));
    let is_literal = |token: &&Token<'_>| matches!(token, Token::Literal(_) | Token::Open(_));
    let has_own_end = tokens.iter().filter(is_literal).count() < 2;
    (tokens == other && (!ends_open || has_own_end)).then_some(tokens)
}

/// The statement with [`HIDDEN`] for each literal, number and comment (P-My9).
pub(crate) fn without_literals(statement: &str, dialect: Dialect) -> String {
    let Some(tokens) = certain(readings(dialect).map(|reading| tokens(statement, reading))) else {
        return format!("{} {HIDDEN}", verb(statement));
    };
    let mut shown = String::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            // What says how the literal behind it is written.
            Token::Word(word)
                if is_prefix(word) && matches!(tokens.peek(), Some(Token::Literal(_) | Token::Open(_))) => {}
            Token::Word(text) | Token::Other(text) => shown.push_str(text),
            Token::Literal(_) | Token::Open(_) | Token::Number(_) => shown.push_str(HIDDEN),
            Token::Comment(_) => shown.push_str("/* ? */"),
        }
    }
    shown
}

fn is_prefix(word: &str) -> bool {
    matches!(word, "e" | "E" | "b" | "B" | "x" | "X" | "n" | "N") || word.starts_with('_')
}

/// The statements of a string of PostgreSQL; `None` when it is not certain where each ends (P-Pg1).
pub(crate) fn statements(string: &str) -> Option<Vec<&str>> {
    let tokens = certain(readings(Dialect::Postgres).map(|reading| tokens(string, reading)))?;
    let (mut all, mut from, mut at, mut depth) = (Vec::new(), 0, 0, 0_usize);
    for token in tokens {
        match token {
            // The body of a function in plain SQL has semicolons of its own.
            Token::Word(word) if word.eq_ignore_ascii_case("atomic") => return None,
            Token::Open(_) => return None,
            Token::Other("(") => depth += 1,
            Token::Other(")") => depth = depth.saturating_sub(1),
            Token::Other(";") if depth == 0 => {
                all.push(string.get(from..at)?);
                from = at + 1;
            }
            _ => {}
        }
        at += token.text().len();
    }
    all.push(string.get(from..)?);
    all.retain(|statement| !verb(statement).is_empty());
    Some(all.into_iter().map(str::trim).collect())
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

/// Whether what a statement returns can hold hashes of passwords: accounts, and the statements that make them.
pub(crate) fn reads_accounts(statement: &str, dialect: Dialect) -> bool {
    let text = statement.to_ascii_lowercase();
    let (may_be, parts): (&[&str], &[&str]) = match dialect {
        Dialect::Postgres => (&["pg_"], &["pg_authid", "pg_shadow", "pg_user_mapping"]),
        Dialect::MySql => (
            &["mysql", "show", "authentication_string"],
            &[
                "mysql.user",
                "mysql.global_priv",
                "mysql.servers",
                "mysql.slave_master_info",
                "authentication_string",
                "showgrants",
                "showcreateuser",
            ],
        ),
    };
    if !may_be.iter().any(|part| text.contains(part)) {
        return false;
    }
    let plain: String = text.chars().filter(|c| *c != '`' && !c.is_whitespace()).collect();
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
    let reading = Reading {
        dialect: Dialect::Postgres,
        escapes: false,
    };
    let parts = tokens(text, reading).into_iter().map(|token| match token {
        Token::Literal(_) | Token::Open(_) => format!("'{REDACTED}'"),
        other => other.text().to_owned(),
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

#[cfg(test)]
mod tests;
