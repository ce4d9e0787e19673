//! Whether a connection is DNS (P-D6, P-D2): never a guess.

use proptest::prelude::*;
use qtap_protocol::detect::{Detection, Hints, Protocol, detect};

use crate::support::{answer, framed, query, question};

const DNS: Detection = Detection::Known(Protocol::Dns);

fn on(port: u16) -> Hints<'static> {
    Hints {
        server_port: port,
        ..Hints::default()
    }
}

fn joined(port: u16) -> Hints<'static> {
    Hints {
        midstream: true,
        ..on(port)
    }
}

#[test]
fn on_its_ports_a_whole_query_is_enough() {
    let query = framed(&query(1, "a.test"));
    for port in [53, 853] {
        assert_eq!(detect(&query, b"", &on(port)), DNS);
        for cut in 1..query.len() {
            assert_eq!(
                detect(&query[..cut], b"", &on(port)),
                Detection::NeedMore,
                "{cut}"
            );
        }
    }
}

#[test]
fn elsewhere_its_server_has_to_answer() {
    let (query, answer) = (framed(&query(1, "a.test")), framed(&answer(1, "a.test", 1)));
    assert_eq!(detect(&query, b"", &on(5300)), Detection::NeedMore);
    assert_eq!(detect(&query, &answer, &on(5300)), DNS);
    assert_eq!(
        detect(&query, b"HTTP/1.1 200 OK\r\n", &on(5300)),
        Detection::Other
    );
}

#[test]
fn pipelined_queries_are_dns() {
    let both = [framed(&query(1, "a.test")), framed(&query(2, "b.test"))].concat();
    assert_eq!(detect(&both, b"", &on(53)), DNS);
}

#[test]
fn in_the_middle_a_query_with_its_answer_or_an_answer_alone() {
    let (query, answer) = (framed(&query(1, "a.test")), framed(&answer(1, "a.test", 1)));
    assert_eq!(detect(&query, &answer, &joined(5300)), DNS);
    assert_eq!(detect(b"", &answer, &joined(53)), DNS);
    assert_eq!(detect(b"", &answer, &joined(5300)), Detection::NeedMore);
    assert_ne!(detect(b"", &answer, &on(53)), DNS, "the client speaks first");
}

#[test]
fn the_port_alone_proves_nothing() {
    let whole = framed(&query(1, "a.test"));
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    for (bytes, why) in [
        ([with(1, 25), vec![0]].concat(), "a byte behind the question"),
        (with(4, 0x81), "an answer of the client"),
        (with(5, 0x40), "the reserved bit"),
        (with(4, 0x31), "an opcode that is not used"),
        (with(5, 0x03), "a query with a response code"),
        (with(7, 2), "two questions"),
        (with(9, 1), "an answer in a query"),
        (with(13, 9), "many additional records"),
        (with(14, 0x41), "a label of an unknown kind"),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(), "zeros"),
        (framed(&question(0x0100, 0, "a.test", 1)[..20]), "cut off"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), "SSH"),
        (
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\x5e\x01\x02\x03\x04".to_vec(),
            "TLS",
        ),
    ] {
        assert_eq!(detect(&bytes, b"", &on(53)), Detection::Other, "{why}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 20_000 }))]

    #[test]
    fn random_bytes_on_port_53_are_other(
        client in prop::collection::vec(any::<u8>(), 0..200),
        server in prop::collection::vec(any::<u8>(), 0..200),
        midstream: bool,
    ) {
        let hints = if midstream { joined(53) } else { on(53) };
        prop_assert_ne!(detect(&client, &server, &hints), DNS);
    }

    #[test]
    fn random_bytes_behind_a_likely_length_are_other(client in prop::collection::vec(any::<u8>(), 17..120)) {
        prop_assert_ne!(detect(&framed(&client), b"", &on(53)), DNS);
    }
}
