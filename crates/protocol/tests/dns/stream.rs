//! DNS over TCP (P-N1): messages behind their length, in whatever order they are answered.

use qtap_protocol::dns::{Opcode, Rcode};
use qtap_protocol::{Event, Limits, Outcome, ParseError, Side};

use crate::support::{ASKED, Talk, answer, brief, query, question, record, wire};

#[test]
fn a_query_and_its_answer() {
    let mut talk = Talk::new(false);
    talk.client(query(1, "api.test")).server(answer(1, "api.test", 7));
    let ended = talk.ended();
    assert_eq!(ended.len(), 1);
    assert_eq!(
        brief(&ended[0]),
        ("api.test".into(), vec!["10.0.0.7".into()], Outcome::Complete)
    );
    let exchange = &ended[0];
    assert_eq!(exchange.query.opcode, Opcode::QUERY);
    assert!(exchange.query.recursion_desired);
    let response = exchange.response.as_ref().unwrap();
    assert_eq!((response.rcode, response.messages), (Rcode::NO_ERROR, 1));
    assert_eq!(
        (
            exchange.traffic.request.head_bytes,
            exchange.traffic.response.head_bytes
        ),
        (28, 44),
        "with the length before them"
    );
    assert_eq!(exchange.duration_ns(), Some(1));
    assert!(talk.close().len() == 1 && talk.orphans() == 0);
}

#[test]
fn answers_come_in_any_order() {
    let mut talk = Talk::new(false);
    talk.client(query(1, "a.test"))
        .client(query(2, "b.test"))
        .client(query(3, "c.test"));
    talk.server(answer(3, "c.test", 3))
        .server(answer(1, "a.test", 1))
        .server(answer(2, "b.test", 2));
    let names: Vec<_> = talk
        .ended()
        .iter()
        .map(|exchange| brief(exchange).1.concat() + &brief(exchange).0)
        .collect();
    assert_eq!(names, ["10.0.0.3c.test", "10.0.0.1a.test", "10.0.0.2b.test"]);
}

#[test]
fn queries_of_one_id_are_told_apart_by_their_questions() {
    let mut talk = Talk::new(false);
    talk.client(query(9, "a.test")).client(query(9, "b.test"));
    talk.server(answer(9, "b.test", 2)).server(answer(9, "a.test", 1));
    let names: Vec<_> = talk.ended().iter().map(|exchange| brief(exchange).0).collect();
    assert_eq!(names, ["b.test", "a.test"]);
}

#[test]
fn the_case_of_a_name_is_not_looked_at() {
    let mut talk = Talk::new(false);
    talk.client(query(1, "aPi.TesT")).server(answer(1, "api.test", 1));
    assert_eq!(talk.ended().len(), 1);
}

#[test]
fn a_query_that_is_sent_again_is_one() {
    let mut talk = Talk::new(false);
    talk.client(query(1, "a.test"))
        .client(query(1, "a.test"))
        .server(answer(1, "a.test", 1));
    let ended = talk.ended();
    assert_eq!((ended.len(), ended[0].retransmits), (1, 1));
    assert_eq!(ended[0].traffic.request.head_bytes, 52);
    assert_eq!(ended[0].duration_ns(), Some(2), "since it was sent first");
    talk.server(answer(1, "a.test", 1));
    assert_eq!(talk.orphans(), 1, "answered already");
}

#[test]
fn an_answer_to_nothing_is_an_orphan() {
    let mut talk = Talk::new(false);
    talk.client(query(1, "a.test"))
        .server(answer(1, "b.test", 1))
        .server(answer(2, "a.test", 1));
    assert_eq!((talk.ended().len(), talk.orphans()), (0, 2));
}

#[test]
fn a_failure_has_its_code_and_need_not_repeat_the_question() {
    let mut talk = Talk::new(false);
    talk.client(query(0x1234, "none.test"))
        .server(question(0x8183, 0, "none.test", 1));
    talk.client(query(2, "bad.test"))
        .server([0, 2, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let codes: Vec<_> = talk
        .ended()
        .iter()
        .map(|exchange| exchange.response.as_ref().unwrap().rcode.to_string())
        .collect();
    assert_eq!(codes, ["NXDOMAIN", "FORMERR"]);
}

#[test]
fn a_transfer_of_a_zone_is_one() {
    let soa = [wire("ns.test"), wire("root.test"), vec![0, 0, 0, 7], vec![0; 16]].concat();
    let soa = record(ASKED, 6, 60, &soa);
    let host = record(&wire("a.zone.test"), 1, 60, &[10, 0, 0, 1]);
    let part = |records: &[&[u8]]| {
        let mut message = question(0x8400, records.len() as u16, "zone.test", 252);
        records
            .iter()
            .for_each(|record| message.extend_from_slice(record));
        message
    };
    let mut talk = Talk::new(false);
    talk.client(question(0, 0, "zone.test", 252));
    talk.server(part(&[&soa, &host])).server(part(&[&host[..]; 100]));
    assert!(talk.ended().is_empty());
    talk.server(part(&[&host, &soa]));
    let ended = talk.ended();
    let response = ended[0].response.as_ref().unwrap();
    assert_eq!(
        (response.messages, response.records.len(), response.records_left),
        (3, 2, 102)
    );
    assert_eq!((ended[0].outcome, talk.orphans()), (Outcome::Complete, 0));
}

#[test]
fn what_is_not_answered_is_canceled_at_the_close_and_times_out_before() {
    let mut talk = Talk::new(false);
    talk.client(query(1, "a.test")).expire();
    assert_eq!(talk.ended()[0].outcome, Outcome::Timeout);
    talk.client(query(2, "b.test")).client(query(3, "c.test"));
    let ended = talk.close();
    let outcomes: Vec<_> = ended.iter().map(brief).collect();
    assert_eq!(
        outcomes[1..],
        [
            ("b.test".into(), vec![], Outcome::Canceled),
            ("c.test".into(), vec![], Outcome::Canceled)
        ]
    );
    assert!(ended.iter().all(|exchange| exchange.duration_ns().is_none()));
}

#[test]
fn queries_that_wait_are_bounded() {
    let limits = Limits {
        pending_commands: 2,
        ..Limits::default()
    };
    let mut talk = Talk::with(limits, false);
    for id in 1..=3 {
        talk.client(query(id, "a.test"));
    }
    let ended = talk.ended();
    assert_eq!((ended.len(), ended[0].query.id), (1, 3));
    assert_eq!(ended[0].outcome, Outcome::Incomplete);
    talk.server(answer(3, "a.test", 1)).server(answer(1, "a.test", 1));
    assert_eq!((talk.orphans(), talk.ended().len()), (1, 2));
}

#[test]
fn other_operations_are_told_by_their_names() {
    let mut talk = Talk::new(false);
    talk.client(question(0x2400, 0, "zone.test", 6))
        .server(question(0xa400, 0, "zone.test", 6));
    assert_eq!(talk.ended()[0].query.opcode.to_string(), "NOTIFY");
}

#[test]
fn a_message_that_cannot_be_read_is_passed_over() {
    let mut talk = Talk::new(false);
    talk.client(query(1, "a.test")).server(b"no message");
    talk.server(answer(1, "a.test", 1));
    assert!(talk.result.is_ok());
    assert_eq!(talk.ended()[0].outcome, Outcome::Complete);
    let resyncs: Vec<_> = talk
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Resync {
                side,
                reason,
                dropped,
            } => Some((*side, *reason, *dropped)),
            _ => None,
        })
        .collect();
    assert_eq!(resyncs, [(Side::Server, "a message ends too early", 12)]);
}

#[test]
fn what_is_never_dns_is_given_up() {
    let mut talk = Talk::new(false);
    talk.raw(Side::Client, [0; 64]);
    assert!(matches!(
        talk.result,
        Err(ParseError::NotThisProtocol { protocol: "dns", .. })
    ));
}

#[test]
fn messages_of_the_wrong_side_are_none() {
    let mut talk = Talk::new(false);
    talk.client(answer(1, "a.test", 1)).server(query(1, "a.test"));
    assert_eq!((talk.ended().len(), talk.orphans()), (0, 0));
    assert_eq!(talk.events.len(), 2, "{:?}", talk.events);
}

#[test]
fn a_connection_joined_in_the_middle_begins_with_the_next_message() {
    let mut talk = Talk::new(true);
    talk.raw(Side::Client, b"\x04test\0\0\x01\0\x01")
        .client(query(1, "a.test"))
        .raw(Side::Server, [0xff; 40])
        .server(answer(1, "a.test", 1));
    assert_eq!(talk.ended().len(), 1);
    assert_eq!(talk.events.len(), 2, "nothing was wrong: {:?}", talk.events);
}
