//! Messages of DNS (P-N1). The answers are what dnsmasq 2.90 and the resolvers of large sites send, built byte by byte.

use std::net::IpAddr;

use proptest::prelude::*;
use qtap_protocol::dns::{Answer, Message, MessageError, Opcode, Rcode, RecordClass, RecordType};

use crate::support::{ASKED, OPTIONS, question, record, wire};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_query_is_read() {
    let message = Message::parse(&question(0x0100, 0, "API.Example.com", 28)).unwrap();
    assert_eq!(
        (message.id, message.is_response, message.rcode),
        (0x1234, false, Rcode::NO_ERROR)
    );
    assert_eq!(message.question.name.as_str(), "api.example.com");
    assert_eq!(message.question.kind, RecordType::AAAA);
    assert_eq!(message.addresses(), []);
}

#[test]
fn addresses_belong_to_the_name_that_was_asked_for() {
    let mut message = question(0x8180, 2, "api.test", 1);
    message.extend(record(ASKED, 1, 300, &[10, 0, 0, 1]));
    message.extend(record(ASKED, 28, 60, &[0xfd; 16]));
    let message = Message::parse(&message).unwrap();
    assert_eq!(
        message.addresses(),
        [
            (ip("10.0.0.1"), 300),
            (ip("fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd"), 60)
        ]
    );
    assert_eq!(message.records_left, 0);
}

#[test]
fn aliases_lead_to_addresses_in_any_order() {
    let mut message = question(0x8180, 4, "www.test", 1);
    message.extend(record(&wire("edge.cdn.test"), 1, 20, &[10, 0, 0, 2]));
    message.extend(record(&wire("lb.cdn.test"), 5, 30, &wire("edge.cdn.test")));
    message.extend(record(ASKED, 5, 3600, &wire("lb.cdn.test")));
    message.extend(record(&wire("poison.test"), 1, 20, &[10, 6, 6, 6]));
    let message = Message::parse(&message).unwrap();
    assert_eq!(message.addresses(), [(ip("10.0.0.2"), 20)]);
}

#[test]
fn aliases_in_a_circle_end() {
    let mut message = question(0x8180, 2, "a.test", 1);
    message.extend(record(ASKED, 5, 30, &wire("b.test")));
    message.extend(record(&wire("b.test"), 5, 30, &wire("a.test")));
    assert_eq!(Message::parse(&message).unwrap().addresses(), []);
}

#[test]
fn hints_of_services_are_addresses() {
    let mut data = vec![0, 1, 0];
    data.extend_from_slice(&[0, 1, 0, 3, 2, b'h', b'2']);
    data.extend_from_slice(&[0, 4, 0, 8, 10, 0, 0, 3, 10, 0, 0, 4]);
    data.extend_from_slice(&[0, 6, 0, 16]);
    data.extend_from_slice(&[0xfe; 16]);
    let mut message = question(0x8180, 1, "svc.test", 65);
    message.extend(record(ASKED, 65, 120, &data));
    let message = Message::parse(&message).unwrap();
    assert!(
        matches!(&message.records[0].answer, Answer::Service { v4, v6, .. } if v4.len() == 2 && v6.len() == 1)
    );
    assert_eq!(message.addresses()[0], (ip("10.0.0.3"), 120));
}

#[test]
fn what_is_cut_off_leaves_the_records_before() {
    let mut message = question(0x8380, 3, "api.test", 1);
    message.extend(record(ASKED, 1, 300, &[10, 0, 0, 1]));
    message.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0");
    let message = Message::parse(&message).unwrap();
    assert!(message.is_truncated);
    assert_eq!((message.records.len(), message.records_left), (1, 2));
}

#[test]
fn a_ttl_with_its_first_bit_set_is_none() {
    let mut message = question(0x8180, 1, "api.test", 1);
    message.extend(record(ASKED, 1, 0x8000_0001, &[10, 0, 0, 1]));
    assert_eq!(Message::parse(&message).unwrap().addresses()[0].1, 0);
}

#[test]
fn other_things_are_no_messages() {
    assert_eq!(Message::parse(b"short"), Err(MessageError::Short));
    assert_eq!(Message::parse(&[0; 12]), Err(MessageError::Questions));
    assert_eq!(
        Message::parse(&question(0x0100, 0, "api.test", 1)[..20]),
        Err(MessageError::Short)
    );
}

#[test]
fn a_failure_has_its_code() {
    let message = Message::parse(&question(0x8183, 0, "none.test", 1)).unwrap();
    assert_eq!((message.rcode, message.records.len()), (Rcode::NX_DOMAIN, 0));
}

#[test]
fn flags_are_told_apart() {
    let message = Message::parse(&question(0x84a0, 0, "a.test", 1)).unwrap();
    assert!(message.is_authoritative && message.recursion_available && message.is_authentic);
    assert!(!message.is_truncated && !message.recursion_desired && !message.checking_disabled);
    let message = Message::parse(&question(0x2110, 0, "a.test", 6)).unwrap();
    assert!(message.recursion_desired && message.checking_disabled);
    assert_eq!(
        (message.opcode, message.question.class),
        (Opcode::NOTIFY, RecordClass::IN)
    );
}

/// What each kind of record shows (P-N2).
#[test]
fn answers_are_written_as_in_the_file_of_a_zone() {
    let txt = b"\x06v=spf1\x03a\"b";
    let caa = b"\0\x05issueca.test";
    let cases: [(u16, Vec<u8>, &str); 13] = [
        (1, vec![10, 0, 0, 1], "10.0.0.1"),
        (28, [&[0xfd][..], &[0; 14], &[1]].concat(), "fd00::1"),
        (5, wire("edge.test"), "edge.test"),
        (2, wire("ns1.test"), "ns1.test"),
        (12, ASKED.to_vec(), "a.test"),
        (15, [&[0, 10][..], &wire("mx.test")].concat(), "10 mx.test"),
        (
            33,
            [&[0, 1, 0, 5, 0x14, 0x66][..], &wire("srv.test")].concat(),
            "1 5 5222 srv.test",
        ),
        (
            6,
            [wire("ns1.test"), wire("root.test"), vec![0, 0, 0, 7], vec![0; 16]].concat(),
            "ns1.test root.test 7",
        ),
        (16, txt.to_vec(), r#""v=spf1" "a\"b""#),
        (257, caa.to_vec(), "0 issue \"ca.test\""),
        (
            65,
            [&[0, 1, 0][..], &[0, 4, 0, 4, 10, 0, 0, 3]].concat(),
            "1 . ipv4hint=10.0.0.3",
        ),
        (39, wire("tree.test"), "tree.test"),
        (48, vec![7; 36], "36 bytes"),
    ];
    for (kind, data, shown) in cases {
        let mut message = question(0x8180, 1, "a.test", kind);
        message.extend(record(ASKED, kind, 60, &data));
        let message = Message::parse(&message).unwrap();
        assert_eq!(message.records[0].answer.to_string(), shown, "{kind}");
        assert!(message.is_whole);
    }
}

#[test]
fn data_that_is_not_what_its_kind_has_is_only_counted() {
    for (kind, data) in [
        (1, &[1, 2, 3][..]),
        (5, b"\x05abc"),
        (16, b"\x05abc"),
        (33, b"\0"),
    ] {
        let mut message = question(0x8180, 1, "a.test", kind);
        message.extend(record(ASKED, kind, 60, data));
        let message = Message::parse(&message).unwrap();
        assert_eq!(message.records[0].answer, Answer::Other(data.len()), "{kind}");
    }
}

/// P-N1: EDNS, and what it adds to the response code (RFC 6891, RFC 8914).
#[test]
fn options_are_read() {
    let mut query = question(0x0100, 0, "a.test", 1);
    query[11] = 1;
    query.extend_from_slice(OPTIONS);
    let message = Message::parse(&query).unwrap();
    assert_eq!(message.udp_size, Some(1232));
    assert!(message.dnssec_ok && message.is_whole);

    let mut answer = question(0x8182, 0, "a.test", 1);
    answer[11] = 1;
    // Upper bits of the code 1: 16 + 2. Extended error 22 with a text.
    answer.extend_from_slice(b"\0\0\x29\x04\xd0\x01\0\0\0\0\x0b\0\x0f\0\x07\0\x16no-ns");
    let message = Message::parse(&answer).unwrap();
    assert_eq!(message.rcode, Rcode(18));
    let error = message.error.unwrap();
    assert_eq!((error.code, &error.text[..]), (22, &b"no-ns"[..]));
}

#[test]
fn a_message_with_something_behind_is_not_whole() {
    let mut message = question(0x0100, 0, "a.test", 1);
    assert!(Message::parse(&message).unwrap().is_whole);
    message.push(0);
    assert!(!Message::parse(&message).unwrap().is_whole);
}

#[test]
fn an_answer_need_not_repeat_the_question() {
    let asked = Message::parse(&question(0x0100, 0, "a.test", 1))
        .unwrap()
        .question;
    let bare = [0x12, 0x34, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Message::parse(&bare), Err(MessageError::Questions));
    let message = Message::parse_answer(&bare, |id| (id == 0x1234).then(|| asked.clone())).unwrap();
    assert_eq!((message.question, message.rcode), (asked, Rcode(1)));
    assert_eq!(
        Message::parse_answer(&bare, |_| None),
        Err(MessageError::Questions)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let _ = Message::parse(&bytes).map(|message| message.addresses());
    }

    #[test]
    fn records_that_are_written_are_read(
        label in "[a-z]{1,20}",
        addresses in proptest::collection::vec(any::<([u8; 4], u32)>(), 0..80),
        cut in any::<proptest::sample::Index>(),
    ) {
        let name = format!("{label}.test");
        let head = question(0x8180, addresses.len() as u16, &name, 1);
        let mut message = head.clone();
        for (ip, ttl) in &addresses {
            message.extend(record(ASKED, 1, ttl & 0x7fff_ffff, ip));
        }
        let whole = Message::parse(&message).unwrap();
        let expected: Vec<_> = addresses.iter().take(64).map(|(ip, ttl)| (IpAddr::from(*ip), ttl & 0x7fff_ffff)).collect();
        prop_assert_eq!(whole.addresses(), &expected[..]);
        prop_assert_eq!(whole.records_left, addresses.len() - expected.len());
        // Cut off anywhere behind the question: those before it, and a count of the others.
        let length = head.len() + cut.index(message.len() - head.len() + 1);
        let part = Message::parse(&message[..length]).unwrap();
        let there = ((length - head.len()) / 16).min(64);
        prop_assert_eq!(part.addresses(), &expected[..there]);
        prop_assert_eq!(part.records_left, addresses.len() - there);
    }
}
