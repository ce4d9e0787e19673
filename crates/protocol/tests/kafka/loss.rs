//! P-L2 and P-K9: what a hole does, and how frames are found again.

use qtap_protocol::{Outcome, Side};

use crate::messages::*;
use crate::support::Talk;

fn outcomes(talk: &mut Talk) -> Vec<(String, Outcome)> {
    talk.close()
        .iter()
        .map(|done| (done.statement(), done.outcome))
        .collect()
}

#[test]
fn a_hole_in_a_reply_ends_its_request_and_no_other() {
    let mut talk = Talk::new();
    let reply = described(1, 1, &[("orders", 0, 0), ("payments", 0, 0)]);
    talk.client(metadata(1, 1))
        .client(metadata(1, 2))
        .server(&reply[..20])
        .gap(Side::Server, 10)
        .server(&reply[30..])
        .server(described(1, 2, &[("orders", 0, 0)]));
    let done = talk.done();
    assert_eq!(
        (
            done[0].outcome,
            done[0].result.is_some(),
            done[0].traffic.response.gap_bytes
        ),
        (Outcome::Incomplete, false, 10)
    );
    assert_eq!(
        (done[1].outcome, done[1].result().count),
        (Outcome::Complete, Some(1))
    );
}

#[test]
fn p_k9_after_a_hole_over_frames_the_next_reply_is_found() {
    let mut talk = Talk::new();
    talk.client(metadata(1, 1))
        .client(metadata(1, 2))
        .client(metadata(1, 3));
    let (one, two) = (described(1, 1, &[("a", 0, 0)]), described(1, 2, &[("b", 0, 0)]));
    talk.server(&one[..10])
        .gap(Side::Server, one.len() - 10 + 5)
        .server(&two[5..])
        .server(described(1, 3, &[("a", 0, 0), ("b", 0, 0)]));
    let done = talk.done();
    assert_eq!(
        done.iter().map(|done| done.outcome).collect::<Vec<_>>(),
        [Outcome::Incomplete, Outcome::Incomplete, Outcome::Complete]
    );
    assert_eq!(done[2].result().count, Some(2));
}

#[test]
fn a_hole_in_a_request_leaves_what_was_read() {
    let mut talk = Talk::new();
    let asked = produce(7, 1, 1, "orders", &[values(&["a"]), values(&["b"])]);
    let at = asked.len() - values(&["b"]).len() - 6;
    talk.client(&asked[..at])
        .gap(Side::Client, 8)
        .client(&asked[at + 8..])
        .server(produced(7, 1, "orders", &[(0, 5), (0, 9)]))
        .client(metadata(1, 2))
        .server(described(1, 2, &[]));
    let done = talk.done();
    assert_eq!(done[0].statement(), "Produce orders");
    assert!(done[0].command.truncated && done[0].traffic.request.gap_bytes == 8);
    assert_eq!(done[1].outcome, Outcome::Complete);
}

#[test]
fn p_k9_after_a_hole_over_frames_the_next_request_is_found() {
    let mut talk = Talk::new();
    let lost = produce(7, 2, 1, "orders", &[values(&["x"])]);
    talk.client(metadata(1, 1))
        .server(described(1, 1, &[]))
        .gap(Side::Client, 7)
        .client(&lost[7..])
        .client(metadata(1, 3))
        .server(produced(7, 2, "orders", &[(0, 1)]))
        .server(described(1, 3, &[]));
    assert_eq!(
        outcomes(&mut talk),
        [
            ("Metadata".to_owned(), Outcome::Complete),
            ("Metadata".to_owned(), Outcome::Complete)
        ]
    );
    assert_eq!(talk.orphans(), 1, "the reply to the one that was lost");
}

#[test]
fn a_request_whose_end_is_lost_is_told_and_answered() {
    let mut talk = Talk::new();
    let asked = produce(7, 1, 1, "orders", &[values(&["x"])]);
    talk.client(&asked[..40])
        .gap(Side::Client, 10_000)
        .client(metadata(1, 2))
        .server(produced(7, 1, "orders", &[(0, 1)]))
        .server(described(1, 2, &[]));
    let done = talk.done();
    assert_eq!(
        (done[0].command.name.as_str(), done[0].outcome),
        ("Produce", Outcome::Complete)
    );
    assert!(done[0].command.truncated);
    assert_eq!(done[1].outcome, Outcome::Complete);
}

#[test]
fn what_waits_behind_a_hole_at_the_end_is_incomplete_and_else_canceled() {
    let mut talk = Talk::new();
    talk.client(metadata(1, 1))
        .gap(Side::Server, 40)
        .client(metadata(1, 2));
    assert_eq!(outcomes(&mut talk)[0].1, Outcome::Incomplete);
    assert_eq!(outcomes(&mut talk)[1].1, Outcome::Canceled);
}

#[test]
fn p_d3_a_connection_joined_in_the_middle() {
    let mut talk = Talk::midstream();
    let (asked, told) = (metadata(1, 8), described(1, 8, &[("orders", 0, 0)]));
    talk.client(&asked[9..])
        .server(&told[13..])
        .client(metadata(1, 9))
        .server(described(1, 9, &[("orders", 0, 0)]));
    let done = talk.close();
    assert_eq!(done.len(), 1);
    assert_eq!(
        (done[0].outcome, done[0].result().count),
        (Outcome::Complete, Some(1))
    );
}

#[test]
fn p_l3_a_forced_search_goes_on_behind_the_stall() {
    let mut talk = Talk::new();
    let told = described(1, 1, &[("orders", 0, 0)]);
    talk.client(metadata(1, 1)).server(&told[..12]);
    // The rest never comes, and what comes next is seen as another reply.
    talk.resync(Side::Server)
        .client(metadata(1, 2))
        .server(described(1, 2, &[]));
    assert_eq!(talk.done()[0].outcome, Outcome::Incomplete);
    assert_eq!(talk.done()[1].outcome, Outcome::Complete);
}
