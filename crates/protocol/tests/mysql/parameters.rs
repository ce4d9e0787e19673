//! P-My4: values that prepared statements are run with.

use qtap_protocol::{Detail, Values};

use crate::support::{Talk, USUAL};
use crate::wire::*;

fn talk(values: Values) -> Talk {
    let detail = Detail {
        values,
        parameters: true,
        ..Detail::default()
    };
    Talk::with_flags_and_detail(USUAL, detail)
}

/// Prepares a statement with two parameters under id 5.
fn prepare_two(talk: &mut Talk, statement: &str) {
    talk.client(prepare(statement)).server(reply(&[
        prepared(5, 0, 2),
        column("?", INT),
        column("?", VARCHAR),
    ]));
}

/// Runs it: types only where `has_types`.
fn run(talk: &mut Talk, has_types: bool, first: u32, second: Option<&str>) {
    let nulls = if second.is_some() { 0 } else { 2 };
    let parts = [
        vec![5, 0, 0, 0, 0, 1, 0, 0, 0, nulls, u8::from(has_types)],
        if has_types {
            vec![INT, 0x80, VARCHAR, 0]
        } else {
            vec![]
        },
        first.to_le_bytes().to_vec(),
        second.map(string).unwrap_or_default(),
    ];
    talk.client(command(0x17, &parts.concat()))
        .server(reply(&[ok(1, 0, 0)]));
}

fn parameters(talk: &Talk) -> Vec<Vec<String>> {
    let runs = talk
        .done()
        .into_iter()
        .filter(|done| done.command.prepared.is_some());
    runs.map(|done| done.command.parameters).collect()
}

#[test]
fn p_my4_parameters_are_shown_where_wanted() {
    let mut talk = talk(Values::Full);
    prepare_two(&mut talk, "insert into t values (?, ?)");
    run(&mut talk, true, u32::MAX, Some("grüße"));
    run(&mut talk, false, 7, None);
    assert_eq!(parameters(&talk), [["4294967295", "grüße"], ["7", "NULL"]]);
    let mut off = Talk::new();
    prepare_two(&mut off, "insert into t values (?, ?)");
    run(&mut off, true, 7, Some("hunter2"));
    assert!(!format!("{:?}", off.events).contains("hunter2"), "off by default");
}

#[test]
fn p_my4_and_p_my9_parameters_that_can_be_credentials_are_never_shown() {
    for (values, statement) in [
        (Values::Full, "update users set password = ? where name = ?"),
        (Values::None, "insert into t values (?, ?)"),
    ] {
        let mut talk = talk(values);
        prepare_two(&mut talk, statement);
        run(&mut talk, true, 7, Some("hunter2"));
        assert!(!format!("{:?}", talk.events).contains("hunter2"), "{statement}");
    }
    // Of a statement that is not known, nothing is.
    let mut unknown = talk(Values::Full);
    run(&mut unknown, true, 7, Some("hunter2"));
    assert!(!format!("{:?}", unknown.events).contains("hunter2"));
}

#[test]
fn p_my4_long_parameters_are_cut_and_those_sent_before_are_named() {
    let mut talk = talk(Values::Full);
    prepare_two(&mut talk, "insert into t values (?, ?)");
    run(&mut talk, true, 7, Some(&"x".repeat(100_000)));
    talk.client(command(0x18, b"\x05\0\0\0\x01\0hunter2"));
    let parts = [5, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0];
    talk.client(command(0x17, &parts)).server(reply(&[ok(1, 0, 0)]));
    let shown = parameters(&talk);
    assert!(shown[0].iter().map(String::len).sum::<usize>() < 20_000);
    assert_eq!(shown[1], ["9", "(sent before)"]);
}
