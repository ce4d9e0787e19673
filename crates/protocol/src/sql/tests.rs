//! Tests of [`super`].

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
        assert_eq!(
            masked(statement, Dialect::Postgres),
            (shown.to_owned(), true),
            "{statement}"
        );
    }
    for statement in [
        "SELECT 'a' FROM t WHERE id = $1",
        "SELECT 'it''s', $1, $$x$$",
        "SELECT '",
        "SELECT $",
    ] {
        assert_eq!(
            masked(statement, Dialect::Postgres),
            (statement.to_owned(), false)
        );
    }
}

#[test]
fn messages_that_quote_a_statement_are_masked() {
    assert_eq!(
        masked_message("syntax error at or near \"hunter2\" or 'hunter2'"),
        "syntax error at or near [REDACTED] or '[REDACTED]'"
    );
}

#[test]
fn credentials_of_mysql_are_masked() {
    for (statement, shown) in [
        (
            "CREATE USER 'a'@`%` IDENTIFIED BY \"hunter2\"",
            "CREATE USER '[REDACTED]'@`%` IDENTIFIED BY '[REDACTED]'",
        ),
        (
            "SET PASSWORD FOR bob = 'hunter2'",
            "SET PASSWORD FOR bob = '[REDACTED]'",
        ),
        ("SET PASSWORD = 'hunter''2'", "SET PASSWORD = '[REDACTED]'"),
        // What it means depends on a setting.
        (r"SET PASSWORD = 'hun\'ter2'", "SET [REDACTED]"),
        (r"SET PASSWORD = 'x\', a = ' hunter2'", "SET [REDACTED]"),
        (
            "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD='hunter2'",
            "CHANGE MASTER TO MASTER_HOST='[REDACTED]', MASTER_PASSWORD='[REDACTED]'",
        ),
        (
            "SELECT AES_ENCRYPT('x', 0x68756e746572)",
            "SELECT AES_ENCRYPT('[REDACTED]', '[REDACTED]')",
        ),
        (
            "SELECT * FROM u WHERE p = MD5('hunter2')",
            "SELECT * FROM u WHERE p = MD5('[REDACTED]')",
        ),
        (
            "PREPARE s FROM 'ALTER USER a IDENTIFIED BY ''hunter2'''",
            "PREPARE s FROM '[REDACTED]'",
        ),
        (
            "/*!50003 CREATE USER a IDENTIFIED BY 'hunter2' */",
            "'[REDACTED]'",
        ),
        (
            "SELECT 1--'a'\n, PASSWORD('hunter2')",
            "SELECT 1--'[REDACTED]'\n, PASSWORD('[REDACTED]')",
        ),
        (
            "SELECT 1 # it's\n, PASSWORD('hunter2')",
            "SELECT 1 # it's\n, PASSWORD('[REDACTED]')",
        ),
    ] {
        assert_eq!(
            masked(statement, Dialect::MySql),
            (shown.to_owned(), true),
            "{statement}"
        );
    }
    for statement in [
        r"SELECT 'it\'s', `a`, 0x41 FROM t WHERE id = ?",
        "SELECT \"a\" # comment",
        "SELECT '",
    ] {
        assert_eq!(masked(statement, Dialect::MySql), (statement.to_owned(), false));
    }
}

#[test]
fn what_mysql_says_of_accounts_is_not_shown() {
    let reads = |statement| reads_accounts(statement, Dialect::MySql);
    assert!(reads("SELECT * FROM `mysql` . `user`") && reads("show  grants"));
    assert!(!reads("SELECT user FROM mysql_user"));
    assert!(reads_accounts("table pg_catalog.pg_authid", Dialect::Postgres));
    assert!(!reads_accounts("select * from pg_class", Dialect::Postgres));
    assert_eq!(
        masked_span("near 'BY 'hunter2'' at line 1"),
        "near [REDACTED] at line 1"
    );
    assert_eq!(verb("/*!40101 SET NAMES utf8 */"), "SET");
    assert_eq!(verb("# a\nselect 1"), "SELECT");
}

#[test]
fn p_my9_literals_are_hidden() {
    for (dialect, statement, shown) in [
        (
            Dialect::MySql,
            "SELECT a1 FROM t WHERE id = 42 AND b = 'x''y'",
            "SELECT a1 FROM t WHERE id = ? AND b = ?",
        ),
        (
            Dialect::MySql,
            "insert into t values (1.5, -2e-3, 0x41, x'41', _utf8\"a\", null)",
            "insert into t values (?, -?, ?, ?, ?, null)",
        ),
        (
            Dialect::MySql,
            "select `a 1` /* user 7 */ from t -- 7\nwhere b = ?",
            "select `a 1` /* ? */ from t /* ? */\nwhere b = ?",
        ),
        (Dialect::MySql, r"select 'it\'s', 'b'", "SELECT ?"),
        (Dialect::MySql, "select 'open", "select ?"),
        (
            Dialect::Postgres,
            "select \"a 1\", E'it\\'s', $x$7$x$, $1::int from t where n in (1, 2)",
            "select \"a 1\", ?, ?, $1::int from t where n in (?, ?)",
        ),
        (Dialect::Postgres, "select /* /* 1 */ 2 */ 3", "select /* ? */ ?"),
        (
            Dialect::Postgres,
            "ALTER USER bob PASSWORD 'hunter2'",
            "ALTER USER bob PASSWORD ?",
        ),
    ] {
        assert_eq!(without_literals(statement, dialect), shown, "{statement}");
    }
}

#[test]
fn p_pg1_strings_are_split_where_statements_end() {
    for (string, expected) in [
        ("select 1", Some(&["select 1"][..])),
        (
            "begin; select ';' ;;\n commit;",
            Some(&["begin", "select ';'", "commit"]),
        ),
        ("select $$;$$; -- ;\n", Some(&["select $$;$$"])),
        (
            "create rule r as on insert to t do also (select 1; select 2); select 3",
            Some(&[
                "create rule r as on insert to t do also (select 1; select 2)",
                "select 3",
            ]),
        ),
        ("", Some(&[])),
        (
            "create function f() returns int begin atomic; select 1; end",
            None,
        ),
        ("select '; select 1", None),
        (r"select 'a\'; select 'b'", None),
    ] {
        assert_eq!(statements(string).as_deref(), expected, "{string}");
    }
}

proptest! {
    #[test]
    fn p_my9_no_literal_is_shown(
        before in "[a-z `\"(,=-]{0,20}",
        value in "[0-9]{6,9}|'(''|hunter|[0-9]){0,4}'|\"hunter\"",
        after in "[a-z ,)=-]{0,20}",
    ) {
        let statement = format!("{before} {value}{after}");
        let shown = without_literals(&statement, Dialect::MySql);
        prop_assert!(!shown.contains("hunter") && !shown.contains(char::is_numeric), "{statement}: {shown}");
    }

    #[test]
    fn a_password_of_mysql_is_never_kept(
        prefix in "[a-z `\"]{0,20}['\"]?",
        inside in "(''|x|\\\\'|\\\\\\\\)*",
        quote in "['\"]",
    ) {
        let statement = format!("{prefix}; ALTER USER a IDENTIFIED BY {quote}{inside}hunter2{inside}{quote}");
        prop_assert!(!masked(&statement, Dialect::MySql).0.contains("hunter2"));
    }

    #[test]
    fn what_is_not_secret_is_kept(statement in "[a-z0-9.'\"$ \\\\/*#;-]{0,40}") {
        for reading in [Dialect::Postgres, Dialect::MySql].into_iter().flat_map(readings) {
            let tokens: String = tokens(&statement, reading).into_iter().map(Token::text).collect();
            prop_assert_eq!(&tokens, &statement);
        }
    }

    #[test]
    fn a_password_is_never_kept(prefix in "[a-z \"$]{0,20}'?", quote in "(''|x)*") {
        let statement = format!("{prefix}; ALTER USER a PASSWORD 'hunter2{quote}'");
        // Inside of an open literal or name the whole is one token, which names a password too.
        prop_assert!(!masked(&statement, Dialect::Postgres).0.contains("hunter2"));
    }
}
