//! Statements: their first word, and the literals that can be credentials.

use crate::REDACTED;

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

/// The first word in capitals; empty without one.
pub(crate) fn verb(statement: &str) -> String {
    let mut rest = statement;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '(' | ';'));
        let after = match () {
            () if rest.starts_with("--") => rest.split_once('\n').map(|(_, after)| after),
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
pub(crate) fn masked(statement: &str) -> (String, bool) {
    let tokens = tokens(statement);
    let is_secret = tokens.iter().any(|token| match token {
        Token::Word(word) => names_secret(word),
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
    let ends_open = matches!(tokens.last(), Some(Token::Open(_)));
    let is_literal = |token: &&Token<'_>| matches!(token, Token::Literal(_) | Token::Open(_));
    let has_own_end = tokens.iter().filter(is_literal).count() < 2;
    if ends_open && !has_own_end {
        // A quote too many or too few: what is inside of literals and what is outside may be the wrong way round.
        return (format!("{} {REDACTED}", verb(statement)), true);
    }
    let parts = tokens.into_iter().map(|token| match token {
        Token::Word(text) | Token::Other(text) => text.to_owned(),
        Token::Literal(_) | Token::Open(_) => format!("'{REDACTED}'"),
    });
    (parts.collect(), true)
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
    let parts = tokens(text).into_iter().map(|token| match token {
        Token::Word(text) | Token::Other(text) => text.to_owned(),
        Token::Literal(_) | Token::Open(_) => format!("'{REDACTED}'"),
    });
    parts.collect()
}

fn names_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| word.contains(part)) || SECRET_FUNCTIONS.contains(&word.as_str())
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

#[derive(Clone, Copy)]
enum Kind {
    Word,
    Literal,
    Open,
    Comment,
    Other,
}

fn tokens(statement: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = match first {
            '\'' => match quoted(rest, is_escape(&tokens)) {
                Some(length) => (length, Kind::Literal),
                None => (rest.len(), Kind::Open),
            },
            // A name that does not end hides a statement.
            '"' => match quoted_name(rest) {
                Some(length) => (length, Kind::Word),
                None => (rest.len(), Kind::Open),
            },
            '$' => match dollar(rest) {
                Some(length) => (length, Kind::Literal),
                None => (1, Kind::Other),
            },
            '-' if rest.starts_with("--") => (rest.find('\n').unwrap_or(rest.len()), Kind::Comment),
            '/' if rest.starts_with("/*") => {
                (rest.find("*/").map_or(rest.len(), |end| end + 2), Kind::Comment)
            }
            c if is_word(c) => (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), Kind::Word),
            c => (c.len_utf8(), Kind::Other),
        };
        let (token, after) = rest.split_at_checked(length.max(1)).unwrap_or((rest, ""));
        tokens.push(match kind {
            Kind::Word => Token::Word(token),
            Kind::Literal => Token::Literal(token),
            Kind::Open => Token::Open(token),
            // One can hold a statement that was put out of use.
            Kind::Comment if names_secret(token) => Token::Literal(token),
            Kind::Comment | Kind::Other => Token::Other(token),
        });
        rest = after;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a literal has backslash escapes: `E'…'`.
fn is_escape(tokens: &[Token<'_>]) -> bool {
    matches!(tokens.last(), Some(Token::Word("e" | "E")))
}

/// Length of a literal in single quotes; a doubled quote is one of it.
fn quoted(text: &str, escapes: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if escapes => at += 1,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 1,
            b'\'' => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn quoted_name(text: &str) -> Option<usize> {
    text.get(1..)?.find('"').map(|end| end + 2)
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn verbs() {
        for (statement, expected) in [
            ("select 1", "SELECT"),
            ("  /* a */ -- b\n (With x as (select 1) select 2", "WITH"),
            ("", ""),
            ("-- only", ""),
        ] {
            assert_eq!(verb(statement), expected, "{statement}");
        }
    }

    #[test]
    fn credentials_are_masked() {
        for (statement, shown) in [
            (
                "CREATE USER bob PASSWORD 'hunter2'",
                "CREATE USER bob PASSWORD '[REDACTED]'",
            ),
            (
                "alter role bob with encrypted password 'hunt''er2' login",
                "alter role bob with encrypted password '[REDACTED]' login",
            ),
            (
                r"ALTER USER a PASSWORD E'hunter\'2'; SELECT 1",
                "ALTER USER a PASSWORD E'[REDACTED]'; SELECT 1",
            ),
            (
                "ALTER USER a PASSWORD $x$hunter2$x$",
                "ALTER USER a PASSWORD '[REDACTED]'",
            ),
            (
                "ALTER USER a PASSWORD 'hunter2",
                "ALTER USER a PASSWORD '[REDACTED]'",
            ),
            (
                "CREATE USER 'a'@'%' IDENTIFIED BY 'hunter2'",
                "CREATE USER '[REDACTED]'@'[REDACTED]' IDENTIFIED BY '[REDACTED]'",
            ),
            (
                "SELECT dblink_connect('host=a password=hunter2')",
                "SELECT dblink_connect('[REDACTED]')",
            ),
            (
                "SELECT dblink_connect('postgres://bob:hunter2@a/b')",
                "SELECT dblink_connect('[REDACTED]')",
            ),
            (
                "select crypt('hunter2', gen_salt('bf'))",
                "select crypt('[REDACTED]', gen_salt('[REDACTED]'))",
            ),
            (
                "INSERT INTO users (name, \"passwordHash\") VALUES ('bob', 'hunter2')",
                "INSERT INTO users (name, \"passwordHash\") VALUES ('[REDACTED]', '[REDACTED]')",
            ),
            (
                "DO $$ BEGIN EXECUTE 'ALTER USER a PASSWORD ''hunter2'''; END $$",
                "DO '[REDACTED]'",
            ),
        ] {
            assert_eq!(masked(statement), (shown.to_owned(), true), "{statement}");
        }
        for statement in [
            "SELECT 'a' FROM t WHERE id = $1",
            "SELECT 'it''s', $1, $$x$$",
            "SELECT '",
            "SELECT $",
        ] {
            assert_eq!(masked(statement), (statement.to_owned(), false));
        }
    }

    #[test]
    fn messages_that_quote_a_statement_are_masked() {
        assert_eq!(
            masked_message("syntax error at or near \"hunter2\" or 'hunter2'"),
            "syntax error at or near [REDACTED] or '[REDACTED]'"
        );
    }

    proptest! {
        #[test]
        fn what_is_not_secret_is_kept(statement in "[a-z'\"$ \\\\/*-]{0,40}") {
            let tokens: String = tokens(&statement).into_iter().map(|token| match token {
                Token::Word(text) | Token::Literal(text) | Token::Open(text) | Token::Other(text) => text,
            }).collect();
            prop_assert_eq!(tokens, statement);
        }

        #[test]
        fn a_password_is_never_kept(prefix in "[a-z \"$]{0,20}'?", quote in "(''|x)*") {
            let statement = format!("{prefix}; ALTER USER a PASSWORD 'hunter2{quote}'");
            // Inside of an open literal or name the whole is one token, which names a password too.
            prop_assert!(!masked(&statement).0.contains("hunter2"));
        }
    }
}
