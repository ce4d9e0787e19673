//! P-My4: prepared statements.

use crate::support::{Talk, USUAL};
use crate::wire::*;

/// Prepares a statement with a parameter and two columns under id 5.
fn prepare_two(talk: &mut Talk, flags: u32) {
    let ends = if flags & DEPRECATE_EOF == 0 {
        vec![eof(0)]
    } else {
        vec![]
    };
    let payloads = [
        vec![prepared(5, 2, 1), column("?", INT)],
        ends.clone(),
        vec![column("id", INT), column("name", VARCHAR)],
        ends,
    ];
    talk.client(prepare("select id, name from t where id > ?"))
        .server(reply(&payloads.concat()));
}

fn rows_of_two(flags: u32) -> Vec<u8> {
    let (middle, last) = if flags & DEPRECATE_EOF == 0 {
        (vec![eof(0)], eof(0))
    } else {
        (vec![], end(0))
    };
    let payloads = [
        vec![number(2), column("id", INT), column("name", VARCHAR)],
        middle,
        vec![binary_row(7, Some("grüße")), binary_row(8, None), last],
    ];
    reply(&payloads.concat())
}

#[test]
fn p_my4_an_execution_has_the_text_and_its_rows_are_decoded() {
    for flags in [USUAL, USUAL & !DEPRECATE_EOF] {
        let mut talk = Talk::with_flags(flags, 0);
        prepare_two(&mut talk, flags);
        for _ in 0..2 {
            talk.client(execute(5, 1)).server(rows_of_two(flags));
        }
        let statement = "select id, name from t where id > ?";
        assert_eq!(
            talk.briefs(),
            [
                (statement.into(), "PrepareOK"),
                (statement.into(), "ResultSet"),
                (statement.into(), "ResultSet")
            ]
        );
        let done = talk.done();
        assert_eq!(
            (
                done[2].command.prepared.as_deref(),
                done[2].result().count,
                done[2].result().preview.as_str()
            ),
            (Some("5"), Some(2), "7 | grüße\n8 | NULL\n")
        );
        assert!(talk.result.is_ok());
    }
}

#[test]
fn p_my4_a_closed_statement_and_an_unknown_one_have_no_text() {
    let mut talk = Talk::new();
    prepare_two(&mut talk, USUAL);
    talk.client([close(5), execute(5, 1)].concat())
        .server(reply(&[error(1243, "HY000", "Unknown prepared statement")]));
    let done = talk.done();
    assert_eq!(done[1].brief(), (String::new(), "Error"));
    assert!(done[1].command.truncated);
}

#[test]
fn p_my4_long_data_counts_to_the_next_execution() {
    let mut talk = Talk::new();
    prepare_two(&mut talk, USUAL);
    let long = command(0x18, &[&b"\x05\0\0\0\0\0"[..], &[b'x'; 1000]].concat());
    let run = execute(5, 1);
    talk.client(&long).client(&run).server(rows_of_two(USUAL));
    let done = talk.done();
    assert_eq!(done[1].traffic.request.total(), (long.len() + run.len()) as u64);
}

#[test]
fn rows_of_a_cursor_are_fetched() {
    for flags in [USUAL, USUAL & !DEPRECATE_EOF] {
        let mut talk = Talk::with_flags(flags, 0);
        prepare_two(&mut talk, flags);
        let last = |status| {
            if flags & DEPRECATE_EOF == 0 {
                eof(status)
            } else {
                end(status)
            }
        };
        let opened = [
            number(2),
            column("id", INT),
            column("name", VARCHAR),
            last(CURSOR_EXISTS),
        ];
        talk.client(execute(5, 1)).server(reply(&opened));
        let fetch = command(0x1c, b"\x05\0\0\0\x02\0\0\0");
        let rows = [binary_row(1, Some("a")), binary_row(2, Some("b"))];
        talk.client(&fetch)
            .server(reply(&[rows.to_vec(), vec![last(CURSOR_EXISTS)]].concat()));
        talk.client(command(0x1a, b"\x05\0\0\0"))
            .server(reply(&[ok(0, 0, 0)]));
        let done = talk.done();
        assert_eq!(
            done[1].brief(),
            ("select id, name from t where id > ?".into(), "ResultSet")
        );
        assert_eq!(done[1].result().count, Some(0));
        assert_eq!(
            (
                done[2].command.prepared.as_deref(),
                done[2].result().count,
                done[2].result().preview.as_str()
            ),
            (Some("5"), Some(2), "1 | a\n2 | b\n")
        );
        assert_eq!(done[3].brief(), ("COM_STMT_RESET".into(), "OK"));
    }
}

#[test]
fn mariadb_prepares_and_executes_at_once() {
    let flags = USUAL & !LONG_PASSWORD;
    let mut talk = Talk::with_flags(flags, 0);
    talk.client([prepare("select 1, ?"), execute(u32::MAX, 7)].concat());
    talk.server(reply(&[
        prepared(9, 2, 1),
        column("?", INT),
        column("1", INT),
        column("?", INT),
    ]));
    talk.server(rows_of_two(flags));
    talk.client(execute(9, 8)).server(rows_of_two(flags));
    let done = talk.done();
    let statement = || "select 1, ?".to_owned();
    assert_eq!(
        talk.briefs(),
        [
            (statement(), "PrepareOK"),
            (statement(), "ResultSet"),
            (statement(), "ResultSet")
        ]
    );
    assert_eq!(done[1].command.prepared.as_deref(), Some("-1"));
}

#[test]
fn mariadb_executes_in_bulk_and_leaves_out_known_columns() {
    let flags = USUAL & !LONG_PASSWORD;
    let mut talk = Talk::with_flags(flags, CACHE_METADATA);
    prepare_two(&mut talk, flags);
    talk.client(command(0xfa, b"\x05\0\0\0\x80\0\x03\0\0\x01\0\0\0"))
        .server(reply(&[ok(1, 0, 0)]));
    // Count, and that no definitions follow.
    talk.client(execute(5, 1))
        .server(reply(&[vec![2, 0], binary_row(7, Some("a")), end(0)]));
    let done = talk.done();
    assert_eq!(done[1].result().affected, Some(1));
    assert_eq!(
        (
            done[2].result().columns.clone(),
            done[2].result().preview.as_str()
        ),
        (vec!["id".into(), "name".into()], "7 | a\n")
    );
}

#[test]
fn mariadb_leaves_out_the_columns_of_a_statement_that_is_run_before_its_id_is_known() {
    let flags = USUAL & !LONG_PASSWORD;
    let mut talk = Talk::with_flags(flags, CACHE_METADATA);
    let prepared_two = |id| {
        let definitions = [column("id", INT), column("name", VARCHAR)];
        reply(&[vec![prepared(id, 2, 0)], definitions.to_vec()].concat())
    };
    let rows = |n| reply(&[vec![2, 0], binary_row(n, Some("a")), end(0)]);
    talk.client(
        [
            prepare("select 1"),
            execute(u32::MAX, 7),
            prepare("select 2"),
            execute(u32::MAX, 8),
        ]
        .concat(),
    );
    talk.server([prepared_two(1), rows(1), prepared_two(2), rows(2)].concat());
    talk.client(execute(u32::MAX, 9)).server(rows(3));
    let runs: Vec<_> = talk
        .done()
        .into_iter()
        .filter(|done| done.brief().1 == "ResultSet")
        .collect();
    for (done, (statement, preview)) in runs.iter().zip([
        ("select 1", "1 | a\n"),
        ("select 2", "2 | a\n"),
        ("select 2", "3 | a\n"),
    ]) {
        assert_eq!(
            (done.command.statement().as_ref(), done.result().preview.as_str()),
            (statement, preview)
        );
        assert_eq!(done.result().columns, ["id", "name"]);
    }
    assert_eq!(runs.len(), 3);
}

#[test]
fn a_change_of_user_and_a_reset_forget_statements() {
    let mut talk = Talk::new();
    prepare_two(&mut talk, USUAL);
    // Another way to log in, of which nothing is kept.
    talk.client(command(
        0x11,
        b"bob\0\x07hunter2second\0\x21\0caching_sha2_password\0",
    ))
    .server(packet(1, b"\xfemysql_native_password\0challenge\0"))
    .client(packet(2, b"hunter2"))
    .server(packet(3, b"\x01\x04"))
    .client(packet(4, b"hunter2\0"))
    .server(packet(5, &ok(0, 0, 0)));
    talk.client(execute(5, 1))
        .server(reply(&[error(1243, "HY000", "Unknown")]));
    let done = talk.done();
    assert_eq!(done[1].brief(), ("COM_CHANGE_USER bob".into(), "OK"));
    assert_eq!(done[2].brief(), (String::new(), "Error"));
    let session = &done[2].command.session;
    assert_eq!(
        (session.user.as_deref(), session.database.as_deref()),
        (Some("bob"), Some("second"))
    );
    assert!(!format!("{:?}", talk.events).contains("hunter2"));

    let mut talk = Talk::new();
    prepare_two(&mut talk, USUAL);
    talk.client(command(0x1f, b"")).server(reply(&[ok(0, 0, 0)]));
    talk.client(execute(5, 1))
        .server(reply(&[error(1243, "HY000", "Unknown")]));
    assert_eq!(
        talk.briefs()[1..],
        [("COM_RESET_CONNECTION".into(), "OK"), (String::new(), "Error")]
    );
}

#[test]
fn a_prepared_statement_with_a_credential_stays_masked() {
    let mut talk = Talk::new();
    talk.client(prepare("alter user bob identified by 'hunter2'"))
        .server(reply(&[prepared(1, 0, 0)]));
    talk.client(execute(1, 1))
        .server(reply(&[error(1396, "HY000", "near 'hunter2'")]));
    for done in talk.done() {
        assert_eq!(
            done.command.statement(),
            "alter user bob identified by '[REDACTED]'"
        );
    }
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}
