//! P-My9: values are shown as the user wants.

use qtap_protocol::{Detail, Values};

use crate::support::{Talk, USUAL};
use crate::wire::*;

fn talk() -> Talk {
    let detail = Detail {
        values: Values::None,
        ..Detail::default()
    };
    Talk::with_flags_and_detail(USUAL, detail)
}

#[test]
fn p_my9_literals_rows_and_what_errors_quote_are_hidden() {
    let mut talk = talk();
    let rows = [columns(&["name"]), vec![row(&[Some("hunter2")]), end(0)]].concat();
    talk.ask("select name from t where id = 42 and pin = 'hunter2'", &rows);
    talk.ask(
        "insert into t values ('hunter2')",
        &[error(
            1062,
            "23000",
            "Duplicate entry 'hunter2' for key 'PRIMARY'",
        )],
    );
    talk.client(prepare("select 'hunter2', ?"))
        .server(reply(&[prepared(5, 0, 0)]));
    let done = talk.done();
    let statements: Vec<_> = done.iter().map(|done| done.statement()).collect();
    assert_eq!(
        statements,
        [
            "select name from t where id = ? and pin = ?",
            "insert into t values (?)",
            "select ?, ?"
        ]
    );
    let result = done[0].result();
    assert_eq!(
        (result.count, result.columns[0].as_str(), result.preview.as_str()),
        (Some(1), "name", "")
    );
    let error = done[1].result().error.as_ref().unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("1062", "Duplicate entry [REDACTED]")
    );
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}

#[test]
fn p_my9_the_session_is_followed_without_literals() {
    let mut talk = talk();
    talk.ask("use shop2", &[ok(0, 0, 0)])
        .ask("select 1", &[ok(0, 0, 0)]);
    assert_eq!(talk.last().command.session.database.as_deref(), Some("shop2"));
    talk.client(command(9, b"")).server(packet(1, b"Uptime: 7"));
    assert_eq!(
        (talk.last().brief().1, talk.last().result().preview.as_str()),
        ("Statistics", "")
    );
}
