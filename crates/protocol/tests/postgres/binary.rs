//! P-Pg8: values in binary are shown by the types of their columns.

use crate::support::Talk;
use crate::wire::*;

const INT4: u32 = 23;
const TEXT: u32 = 25;
const BOOL: u32 = 16;
const UNKNOWN: u32 = 99_999;

fn seven() -> Vec<u8> {
    raw_row(&[Some(&[0, 0, 0, 7]), Some("grüße".as_bytes())])
}

fn id_and_name(format: u16) -> Vec<u8> {
    typed_columns(&[("id", INT4), ("name", TEXT)], format)
}

/// What the last command showed.
fn preview(talk: &Talk) -> String {
    talk.last().result().preview.clone()
}

#[test]
fn p_pg8_a_described_portal_says_types_and_formats() {
    let mut talk = Talk::new();
    let asked = [
        parse("", "select id, name from t"),
        bind_with("", &[], &[], &[1]),
        describe(b'P', ""),
        execute(""),
        sync(),
    ];
    let answered = [
        bare(b'1'),
        bare(b'2'),
        id_and_name(1),
        seven(),
        complete("SELECT 1"),
        ready(b'I'),
    ];
    talk.client(asked.concat()).server(answered.concat());
    assert_eq!(
        talk.last().brief(),
        ("select id, name from t".into(), "CommandComplete")
    );
    assert_eq!(
        (preview(&talk).as_str(), talk.last().result().columns.clone()),
        ("7 | grüße\n", vec!["id".to_owned(), "name".to_owned()])
    );
}

#[test]
fn p_pg8_a_statement_described_once_is_run_many_times() {
    let mut talk = Talk::new();
    talk.client([parse("s", "select id, name from t"), describe(b'S', "s"), sync()].concat());
    // Its formats are not known yet, and told as text.
    talk.server([bare(b'1'), parameters(&[]), id_and_name(0), ready(b'I')].concat());
    assert_eq!(talk.last().brief().1, "ParseComplete");
    for _ in 0..2 {
        talk.client([bind_with("s", &[], &[], &[1, 0]), execute(""), sync()].concat());
        talk.server([bare(b'2'), seven(), complete("SELECT 1"), ready(b'I')].concat());
        assert_eq!(preview(&talk), "7 | grüße\n");
        assert_eq!(talk.last().result().columns, ["id", "name"]);
    }
}

#[test]
fn p_pg8_a_statement_described_in_the_batch_that_runs_it() {
    let mut talk = Talk::new();
    let asked = [
        parse("s", "select id, name from t"),
        describe(b'S', "s"),
        bind_with("s", &[], &[], &[1]),
        execute(""),
        sync(),
    ];
    let answered = [
        bare(b'1'),
        parameters(&[]),
        id_and_name(0),
        bare(b'2'),
        seven(),
        complete("SELECT 1"),
        ready(b'I'),
    ];
    talk.client(asked.concat()).server(answered.concat());
    assert_eq!((talk.done().len(), preview(&talk).as_str()), (1, "7 | grüße\n"));
}

#[test]
fn p_pg8_a_name_used_again_has_the_columns_of_its_new_statement() {
    let mut talk = Talk::new();
    // Both are asked before the first is described.
    talk.client([parse("s", "select id, name from t"), describe(b'S', "s"), sync()].concat());
    talk.client(
        [
            close_statement("s"),
            parse("s", "select b"),
            describe(b'S', "s"),
            sync(),
        ]
        .concat(),
    );
    talk.server([bare(b'1'), parameters(&[]), id_and_name(0), ready(b'I')].concat());
    talk.server(
        [
            bare(b'3'),
            bare(b'1'),
            parameters(&[]),
            typed_columns(&[("b", BOOL)], 0),
            ready(b'I'),
        ]
        .concat(),
    );
    talk.client([bind_with("s", &[], &[], &[1]), execute(""), sync()].concat());
    talk.server(
        [
            bare(b'2'),
            raw_row(&[Some(&[1])]),
            complete("SELECT 1"),
            ready(b'I'),
        ]
        .concat(),
    );
    assert_eq!(
        (preview(&talk).as_str(), talk.last().result().columns.as_slice()),
        ("t\n", &["b".to_owned()][..])
    );
}

#[test]
fn p_pg8_what_is_not_described_is_no_column_of_the_next() {
    let mut talk = Talk::new();
    // The description fails, and all that follows it in the batch.
    talk.client(
        [
            describe(b'S', "gone"),
            bind_with("gone", &[], &[], &[1]),
            execute(""),
            sync(),
        ]
        .concat(),
    );
    talk.server([error("26000", "no such statement"), ready(b'I')].concat());
    assert_eq!(talk.last().code(), "26000");
    talk.client(
        [
            parse("", "insert"),
            describe(b'S', ""),
            bind("", "", "x"),
            execute(""),
            sync(),
        ]
        .concat(),
    );
    talk.server(
        [
            bare(b'1'),
            parameters(&[]),
            bare(b'n'),
            bare(b'2'),
            complete("INSERT 0 1"),
            ready(b'I'),
        ]
        .concat(),
    );
    assert_eq!(
        (talk.last().brief().1, talk.last().result().columns.len()),
        ("CommandComplete", 0)
    );
}

#[test]
fn p_pg8_a_cursor_in_binary_by_a_simple_query() {
    let mut talk = Talk::new();
    talk.client(query("fetch all from c"))
        .server([id_and_name(1), seven(), complete("FETCH 1"), ready(b'T')].concat());
    assert_eq!(preview(&talk), "7 | grüße\n");
}

#[test]
fn p_pg8_types_that_are_not_known_are_shown_by_their_length() {
    let mut talk = Talk::new();
    talk.client(
        [
            parse("", "select a, b, c"),
            bind_with("", &[], &[], &[1]),
            describe(b'P', ""),
            execute(""),
            sync(),
        ]
        .concat(),
    );
    let columns = typed_columns(&[("a", UNKNOWN), ("b", INT4), ("c", INT4)], 1);
    // A number of the wrong size, too.
    let row = raw_row(&[Some(b"abc"), Some(b"\0\x07"), None]);
    talk.server(
        [
            bare(b'1'),
            bare(b'2'),
            columns,
            row,
            complete("SELECT 1"),
            ready(b'I'),
        ]
        .concat(),
    );
    assert_eq!(preview(&talk), "(3 bytes) | (2 bytes) | NULL\n");
}

#[test]
fn p_pg8_long_values_are_cut() {
    let mut talk = Talk::new();
    talk.client(
        [
            parse("", "select a"),
            bind_with("", &[], &[], &[1]),
            describe(b'P', ""),
            execute(""),
            sync(),
        ]
        .concat(),
    );
    let row = raw_row(&[Some(&[0xab; 50_000])]);
    talk.server(
        [
            bare(b'1'),
            bare(b'2'),
            typed_columns(&[("a", 17)], 1),
            row,
            complete("SELECT 1"),
            ready(b'I'),
        ]
        .concat(),
    );
    assert_eq!(preview(&talk), "(50000 bytes)\n");
    assert!(talk.last().result().truncated);
}

#[test]
fn p_pg8_arrays_within_a_row() {
    let mut talk = Talk::new();
    let array = [
        &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1][..],
        &[0, 0, 0, 4, 0, 0, 0, 7],
        &[0xff; 4],
    ]
    .concat();
    talk.client(query("fetch c")).server(
        [
            typed_columns(&[("a", 1007)], 1),
            raw_row(&[Some(&array)]),
            complete("FETCH 1"),
            ready(b'T'),
        ]
        .concat(),
    );
    assert_eq!(preview(&talk), "{7,NULL}\n");
}
