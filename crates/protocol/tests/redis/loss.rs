//! P-L2: what a hole does, and how pairing is found again.

use qtap_protocol::{Outcome, Side};

use crate::support::Talk;

#[test]
fn p_l2_a_hole_inside_of_a_string_is_passed_over() {
    let mut talk = Talk::new();
    talk.command(&["GET", "k"])
        .server("$10\r\nab")
        .gap(Side::Server, 6)
        .server("yz\r\n")
        .command(&["PING"])
        .server("+PONG\r\n");
    let done = talk.done();
    assert_eq!(
        (done[0].outcome, done[0].traffic.response.gap_bytes),
        (Outcome::Complete, 6)
    );
    assert!(done[0].shown().2.starts_with("ab"), "{:?}", done[0]);
    assert!(done[0].result.as_ref().unwrap().truncated);
    assert_eq!(done[1].shown().2, "PONG");
}

#[test]
fn p_l2_a_hole_inside_of_an_argument_is_passed_over() {
    let mut talk = Talk::new();
    talk.client("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8\r\nab")
        .gap(Side::Client, 6)
        .client("\r\n")
        .server("+OK\r\n");
    let done = talk.done();
    assert_eq!(
        (done[0].shown().0.as_str(), done[0].traffic.request.gap_bytes),
        ("SET k ab", 6)
    );
    assert_eq!(done[0].shown().2, "OK");
}

#[test]
fn p_l2_commands_older_than_a_hole_end_as_incomplete() {
    let mut talk = Talk::new();
    talk.command(&["GET", "a"])
        .command(&["GET", "b"])
        .server("$1\r\n")
        .gap(Side::Server, 30)
        .server("$1\r\nx\r\n");
    let outcomes: Vec<_> = talk
        .done()
        .iter()
        .map(|done| (done.outcome, done.result.is_some()))
        .collect();
    assert_eq!(
        outcomes,
        [(Outcome::Incomplete, false), (Outcome::Incomplete, false)]
    );
}

#[test]
fn p_l2_quiet_proves_that_nothing_is_outstanding() {
    let mut talk = Talk::new();
    talk.command(&["ECHO", "a"])
        .gap(Side::Server, 7)
        .command(&["ECHO", "b"])
        .server("$1\r\nb\r\n");
    talk.wait(2).command(&["ECHO", "c"]).server("$1\r\nc\r\n");
    let done = talk.done();
    assert_eq!(
        (done[1].shown().0.as_str(), done[1].outcome),
        ("ECHO b", Outcome::Incomplete)
    );
    assert_eq!(done[2].shown(), ("ECHO c".into(), "bulk_string", "c".into()));
}

#[test]
fn p_l2_turns_prove_that_nothing_is_outstanding() {
    let mut talk = Talk::new();
    talk.command(&["INCR", "n"]).gap(Side::Server, 4);
    for n in 0..6 {
        talk.command(&["INCR", "n"]).server(format!(":{n}\r\n"));
    }
    let outcomes: Vec<_> = talk.done().iter().map(|done| done.outcome).collect();
    assert_eq!(outcomes[..5], [Outcome::Incomplete; 5]);
    assert_eq!(outcomes[5..], [Outcome::Complete; 2]);
}

#[test]
fn p_r7_bad_bytes_are_skipped_to_the_next_value() {
    let mut talk = Talk::new();
    talk.command(&["PING"]).server("?what\r\n\0garbage\r\n").wait(2);
    talk.command(&["ECHO", "a"]).server("$1\r\na\r\n");
    let done = talk.done();
    assert_eq!(done[0].outcome, Outcome::Incomplete);
    assert_eq!(done[1].shown(), ("ECHO a".into(), "bulk_string", "a".into()));
}

#[test]
fn p_d3_a_connection_joined_in_the_middle() {
    let mut talk = Talk::with(true);
    talk.server("e of something\r\n+OK\r\n");
    for n in 0..4 {
        talk.command(&["ECHO", "x"]).server(format!("+{n}\r\n"));
    }
    let outcomes: Vec<_> = talk.done().iter().map(|done| done.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Incomplete,
            Outcome::Incomplete,
            Outcome::Complete,
            Outcome::Complete
        ]
    );
}
