//! P-L2: what a hole does, and how order is found again.

use qtap_protocol::{Outcome, Side};

use crate::support::Talk;
use crate::wire::*;

#[test]
fn p_l2_a_hole_inside_of_a_row_is_passed_over() {
    let mut talk = Talk::new();
    let data = row(&[Some(&"x".repeat(100))]);
    talk.client(query("select 1"))
        .server(&data[..20])
        .gap(Side::Server, 50)
        .server(&data[70..]);
    talk.server([complete("SELECT 1"), ready(b'I')].concat());
    let done = talk.done();
    assert_eq!(
        (done[0].outcome, done[0].traffic.response.gap_bytes),
        (Outcome::Complete, 50)
    );
    assert_eq!(done[0].result().count, Some(1));
}

#[test]
fn p_l2_a_hole_inside_of_a_statement_cuts_it() {
    let mut talk = Talk::new();
    let data = query("select aaaaaaaaaaaaaaaaaaaaaaaa");
    talk.client(&data[..15])
        .gap(Side::Client, 5)
        .client(&data[20..])
        .server([complete("SELECT 1"), ready(b'I')].concat());
    let done = talk.done();
    assert_eq!(
        (done[0].command.statement().as_ref(), done[0].command.truncated),
        ("select aaa", true)
    );
    assert_eq!(done[0].outcome, Outcome::Complete);
}

#[test]
fn p_l2_commands_older_than_a_hole_end_as_incomplete_and_turns_prove_the_order() {
    let mut talk = Talk::new();
    talk.client(query("select 0")).gap(Side::Server, 11);
    for n in 1..6 {
        talk.client(query(&format!("select {n}")))
            .server([complete("SELECT 1"), ready(b'I')].concat());
    }
    let outcomes: Vec<_> = talk.done().iter().map(|done| done.outcome).collect();
    assert_eq!(outcomes[..4], [Outcome::Incomplete; 4]);
    assert_eq!(outcomes[4..], [Outcome::Complete; 2]);
}

#[test]
fn p_l2_quiet_proves_the_order() {
    let mut talk = Talk::new();
    talk.client(query("select 0")).gap(Side::Server, 11).wait(2);
    talk.client(query("select 1"))
        .server([complete("SELECT 1"), ready(b'I')].concat());
    let done = talk.done();
    assert_eq!(
        (done[1].outcome, done[1].brief().1),
        (Outcome::Complete, "CommandComplete")
    );
}

#[test]
fn bad_bytes_are_skipped_to_the_end_of_a_batch() {
    let mut talk = Talk::new();
    talk.client(query("select 0"))
        .server(b"\xff\xff garbage")
        .server(ready(b'I'))
        .wait(2);
    talk.client(query("select 1"))
        .server([complete("SELECT 1"), ready(b'I')].concat());
    let done = talk.done();
    assert_eq!(done[0].outcome, Outcome::Incomplete);
    assert_eq!(done[1].brief(), ("select 1".into(), "CommandComplete"));
}

#[test]
fn p_pg9_a_connection_joined_in_the_middle() {
    let mut talk = Talk::with(true);
    for n in 0..3 {
        talk.client(query(&format!("select {n}")))
            .server([complete("SELECT 1"), ready(b'I')].concat());
    }
    talk.client([bind("", "old", "x"), execute(""), sync()].concat());
    talk.server([bare(b'2'), complete("SELECT 1"), ready(b'I')].concat());
    let done = talk.done();
    let outcomes: Vec<_> = done.iter().map(|done| done.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Incomplete,
            Outcome::Complete,
            Outcome::Complete,
            Outcome::Complete
        ]
    );
    assert_eq!(
        (done[3].command.prepared.as_deref(), done[3].command.truncated),
        (Some("old"), true)
    );
}
