//! Missing bytes (P-L2): answers are found by their ids, so only what was hit is lost.

use qtap_protocol::{Outcome, Side};

use crate::support::{Talk, answer, brief, framed, query};

fn outcomes(talk: &mut Talk) -> Vec<(String, usize, Outcome, u64)> {
    let ended = talk.close();
    let briefs = ended.iter().map(|exchange| {
        let (name, records, outcome) = brief(exchange);
        (name, records.len(), outcome, exchange.gap_bytes())
    });
    briefs.collect()
}

#[test]
fn a_hole_in_the_records_leaves_the_rest_of_the_message() {
    let bytes = framed(&answer(1, "a.test", 1));
    let mut talk = Talk::new(false);
    talk.client(query(1, "a.test"))
        .raw(Side::Server, &bytes[..30])
        .gap(Side::Server, 12);
    assert_eq!(
        outcomes(&mut talk),
        [("a.test".into(), 0, Outcome::Complete, 12)],
        "its question was there"
    );
}

#[test]
fn a_hole_in_the_question_leaves_it_open_whose_answer_it_was() {
    let bytes = framed(&answer(1, "a.test", 1));
    let mut talk = Talk::new(false);
    talk.client(query(1, "a.test"))
        .client(query(2, "b.test"))
        .raw(Side::Server, &bytes[..20])
        .gap(Side::Server, 10)
        .raw(Side::Server, &bytes[30..])
        .server(answer(2, "b.test", 2));
    talk.client(query(3, "c.test"));
    assert_eq!(
        outcomes(&mut talk),
        [
            ("b.test".into(), 1, Outcome::Complete, 0),
            ("a.test".into(), 0, Outcome::Incomplete, 0),
            ("c.test".into(), 0, Outcome::Canceled, 0),
        ]
    );
}

#[test]
fn behind_a_hole_over_messages_the_next_whole_one_is_found() {
    let bytes = framed(&answer(2, "b.test", 2));
    let mut talk = Talk::new(false);
    for (id, name) in [(1, "a.test"), (2, "b.test"), (3, "c.test")] {
        talk.client(query(id, name));
    }
    // The first answer and a part of the second.
    talk.gap(Side::Server, 60)
        .raw(Side::Server, &bytes[18..])
        .server(answer(3, "c.test", 3));
    assert_eq!(
        outcomes(&mut talk),
        [
            ("c.test".into(), 1, Outcome::Complete, 0),
            ("a.test".into(), 0, Outcome::Incomplete, 0),
            ("b.test".into(), 0, Outcome::Incomplete, 0),
        ]
    );
    assert!(talk.result.is_ok());
}

#[test]
fn the_answer_to_a_lost_query_is_an_orphan() {
    let mut talk = Talk::new(false);
    talk.gap(Side::Client, 26)
        .server(answer(1, "a.test", 1))
        .client(query(2, "b.test"))
        .server(answer(2, "b.test", 2));
    assert_eq!(outcomes(&mut talk), [("b.test".into(), 1, Outcome::Complete, 0)]);
    assert_eq!(talk.orphans(), 1);
}

#[test]
fn a_forced_search_ends_with_the_next_message() {
    let mut talk = Talk::new(false);
    talk.client(query(1, "a.test"))
        .raw(Side::Server, [0xff, 0xff, 1, 2, 3])
        .resync(Side::Server)
        .server(answer(1, "a.test", 1));
    assert_eq!(outcomes(&mut talk), [("a.test".into(), 1, Outcome::Complete, 0)]);
}

#[test]
fn what_a_search_may_have_swallowed_is_incomplete() {
    let mut talk = Talk::new(false);
    // What looks like the beginning of a long answer, and never ends.
    talk.gap(Side::Server, 60)
        .raw(
            Side::Server,
            [0xff, 0xff, 0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0],
        )
        .client(query(1, "a.test"))
        .server(answer(1, "a.test", 1));
    assert_eq!(
        outcomes(&mut talk),
        [("a.test".into(), 0, Outcome::Incomplete, 0)]
    );
}
