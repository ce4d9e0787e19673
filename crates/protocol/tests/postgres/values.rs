//! P-Pg1, P-Pg7: what is shown as the user wants.

use qtap_protocol::{Detail, Outcome, Values};

use crate::support::Talk;
use crate::wire::*;

const PARAMETERS: Detail = Detail {
    values: Values::Full,
    parameters: true,
    split_statements: false,
};

/// Runs a statement with a number in binary and a text.
fn run(talk: &mut Talk, statement: &str, kinds: &[u32]) -> Vec<String> {
    let values: [Option<&[u8]>; 3] = [Some(&[0, 0, 0, 42]), Some(b"hunter2"), None];
    let bound = bind_with("", &[1, 0, 0], &values, &[1]);
    talk.client([parse_with("", statement, kinds), bound, execute(""), sync()].concat())
        .server([bare(b'1'), bare(b'2'), complete("INSERT 0 1"), ready(b'I')].concat());
    talk.last().command.parameters
}

#[test]
fn p_pg7_parameters_are_shown_where_wanted() {
    let statement = "insert into t values ($1, $2, $3)";
    let mut talk = Talk::shows(PARAMETERS);
    assert_eq!(run(&mut talk, statement, &[23, 25]), ["42", "hunter2", "NULL"]);
    assert_eq!(
        run(&mut talk, statement, &[]),
        ["(4 bytes)", "hunter2", "NULL"],
        "of a type that is not known"
    );
    assert!(
        run(&mut Talk::new(), statement, &[23, 25]).is_empty(),
        "off by default"
    );
}

#[test]
fn p_pg7_types_are_those_that_the_server_tells() {
    let mut talk = Talk::shows(PARAMETERS);
    talk.client([parse("s", "select $1"), describe(b'S', "s"), sync()].concat())
        .server([bare(b'1'), parameters(&[23]), bare(b'n'), ready(b'I')].concat())
        .client(
            [
                bind_with("s", &[1], &[Some(&[0, 0, 0, 7])], &[]),
                execute(""),
                sync(),
            ]
            .concat(),
        )
        .server([bare(b'2'), complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(talk.last().command.parameters, ["7"]);
}

#[test]
fn p_pg7_parameters_that_can_be_credentials_are_never_shown() {
    for (values, statement) in [
        (Values::Full, "update users set password = $2 where id = $1"),
        (Values::None, "insert into t values ($1, $2, $3)"),
    ] {
        let mut talk = Talk::shows(Detail { values, ..PARAMETERS });
        assert!(run(&mut talk, statement, &[23, 25]).is_empty());
        assert!(!format!("{:?}", talk.events).contains("hunter2"));
    }
    let mut unknown = Talk::shows(PARAMETERS);
    unknown.client([bind("", "older", "hunter2"), execute(""), sync()].concat());
    assert!(
        !format!("{:?}", unknown.close()).contains("hunter2"),
        "of a statement that is not known"
    );
}

#[test]
fn p_pg7_long_parameters_are_cut() {
    let mut talk = Talk::shows(PARAMETERS);
    talk.client(
        [
            parse("", "select $1, $2"),
            bind_with("", &[], &[Some(&[b'x'; 100_000]), Some(b"y")], &[]),
            execute(""),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(talk.close()[0].command.parameters, ["…"]);
}

#[test]
fn literals_rows_and_what_errors_quote_are_hidden() {
    let mut talk = Talk::shows(Detail {
        values: Values::None,
        ..Detail::default()
    });
    talk.client(query("select name from t where id = 42 and pin = 'hunter2'"))
        .server(
            [
                columns(&["name"]),
                row(&[Some("hunter2")]),
                complete("SELECT 1"),
                ready(b'I'),
            ]
            .concat(),
        )
        .client(query("select 'hunter2'::int"))
        .server(
            [
                error("22P02", "invalid input syntax for type integer: \"hunter2\""),
                ready(b'I'),
            ]
            .concat(),
        );
    let done = talk.done();
    assert_eq!(done[0].statement(), "select name from t where id = ? and pin = ?");
    assert_eq!(
        (done[0].result().count, done[0].result().preview.as_str()),
        (Some(1), "")
    );
    assert_eq!(
        (done[1].statement().as_str(), done[1].code()),
        ("select ?::int", "22P02")
    );
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}

#[test]
fn hashes_of_passwords_are_not_shown() {
    let mut talk = Talk::new();
    talk.client(query("table pg_authid")).server(
        [
            columns(&["a"]),
            row(&[Some("SCRAM-SHA-256$hash")]),
            complete("SELECT 1"),
            ready(b'I'),
        ]
        .concat(),
    );
    assert_eq!(talk.last().result().preview, "");
}

const SPLIT: Detail = Detail {
    values: Values::Full,
    parameters: false,
    split_statements: true,
};

#[test]
fn p_pg1_a_string_can_be_one_command_for_each_statement() {
    let mut talk = Talk::shows(SPLIT);
    let asked = query("begin; insert into t values (';'); select id from t;");
    talk.client(&asked).server(
        [
            complete("BEGIN"),
            complete("INSERT 0 1"),
            columns(&["id"]),
            row(&[Some("7")]),
            complete("SELECT 1"),
            ready(b'T'),
        ]
        .concat(),
    );
    let done = talk.done();
    let seen: Vec<_> = done
        .iter()
        .map(|done| (done.statement(), done.result().tags.clone()))
        .collect();
    assert_eq!(
        seen,
        [
            ("begin".into(), vec!["BEGIN".into()]),
            ("insert into t values (';')".into(), vec!["INSERT 0 1".into()]),
            ("select id from t".into(), vec!["SELECT 1".to_owned()]),
        ]
    );
    assert_eq!(
        (done[2].result().preview.as_str(), done[2].result().transaction),
        ("7\n", Some("transaction"))
    );
    let bytes: u64 = done.iter().map(|done| done.traffic.request.total()).sum();
    assert_eq!(bytes, asked.len() as u64, "each byte counts once");
}

#[test]
fn p_pg1_what_follows_an_error_in_its_string_was_never_run() {
    let mut talk = Talk::shows(SPLIT);
    talk.client(query("select 1; select 1/0; select 3"))
        .server(
            [
                complete("SELECT 1"),
                error("22012", "division by zero"),
                ready(b'I'),
            ]
            .concat(),
        )
        .client(query("select 4"))
        .server([complete("SELECT 1"), ready(b'I')].concat());
    let seen: Vec<_> = talk
        .done()
        .iter()
        .map(|done| (done.statement(), done.outcome))
        .collect();
    assert_eq!(
        seen,
        [
            ("select 1".into(), Outcome::Complete),
            ("select 1/0".into(), Outcome::Complete),
            ("select 3".into(), Outcome::Refused),
            ("select 4".into(), Outcome::Complete),
        ]
    );
}

#[test]
fn p_pg1_a_string_that_cannot_be_split_for_certain_is_one_command() {
    for string in ["select 'a\\'; select 2", "select '; select 2", "select 1"] {
        let mut talk = Talk::shows(SPLIT);
        talk.client(query(string))
            .server([complete("SELECT 1"), ready(b'I')].concat());
        assert_eq!(talk.done().len(), 1, "{string}");
    }
}
