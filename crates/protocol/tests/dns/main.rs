//! Messages of DNS (P-N1). The answers are what dnsmasq 2.90 and the resolvers of large sites send, built byte by byte.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

use std::net::IpAddr;

use proptest::prelude::*;
use qtap_protocol::dns::{Answer, Message, MessageError, RecordType};

/// Header and question for `name`.
fn question(flags: u16, answers: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = Vec::new();
    for word in [0x1234, flags, 1, answers, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    message.extend(wire(name));
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&1_u16.to_be_bytes());
    message
}

fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A record whose owner is given as on the wire.
fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&1_u16.to_be_bytes());
    bytes.extend_from_slice(&ttl.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// Points at the name of the question.
const ASKED: &[u8] = b"\xc0\x0c";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_query_is_read() {
    let message = Message::parse(&question(0x0100, 0, "API.Example.com", 28)).unwrap();
    assert_eq!(
        (message.id, message.is_response, message.rcode),
        (0x1234, false, 0)
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
    assert_eq!((message.rcode, message.records.len()), (3, 0));
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
