//! Hellos out of Initial packets of QUIC.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

#[path = "common/quic.rs"]
mod packets;

use packets::{Sealer, V1, V2, client_hello, crypto, datagram, server_hello};
use proptest::prelude::*;
use qtap_tls::Side;
use qtap_tls::quic::{Initial, Opening, Packet, Version, is_http3, packets};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/quic/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap().replace('\n', "");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn initials(datagram: &[u8]) -> Vec<Initial<'_>> {
    let initial = |packet| match packet {
        Packet::Initial(initial) => Some(initial),
        _ => None,
    };
    packets(datagram).filter_map(initial).collect()
}

#[test]
fn the_packets_of_the_rfcs_are_opened() {
    for (client, server, version) in [
        (
            "rfc9001_a2_client_initial",
            "rfc9001_a3_server_initial",
            Version::V1,
        ),
        (
            "rfc9369_a2_client_initial",
            "rfc9369_a3_server_initial",
            Version::V2,
        ),
    ] {
        let (client, server) = (fixture(client), fixture(server));
        assert_eq!(client.len(), 1200);
        let mut opening = Opening::begin(&initials(&client)[0]).unwrap();
        let hello = opening.client_hello().unwrap();
        assert_eq!(hello.sni.as_deref(), Some("example.com"));
        assert_eq!(
            (&hello.alpn[..], &hello.versions[..]),
            (&["alpn".to_owned()][..], &[0x0304][..])
        );
        assert_eq!(hello.cipher_suites, [0x1301, 0x1302]);
        let answer = initials(&server)[0];
        assert_eq!(answer.source, [0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5]);
        assert!(!opening.add(Side::Client, &answer));
        assert!(opening.add(Side::Server, &answer));
        let chosen = opening.server_hello().unwrap();
        assert_eq!((chosen.version, chosen.cipher_suite), (0x0304, 0x1301));
        assert_eq!((opening.version(), opening.held()), (version, 0));
    }
    let retry = fixture("rfc9001_a4_retry");
    let source = &[0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5];
    assert_eq!(packets(&retry).collect::<Vec<_>>(), [Packet::Retry { source }]);
}

#[test]
fn a_byte_that_is_not_as_it_was_sent_opens_nothing() {
    let sent = fixture("rfc9001_a2_client_initial");
    for at in [0, 3, 6, 14, 16, 18, 30, 600, 1199] {
        let mut changed = sent.clone();
        changed[at] ^= 0x04;
        let opened = initials(&changed)
            .first()
            .is_some_and(|first| Opening::begin(first).is_some());
        assert!(!opened, "{at}");
    }
}

#[test]
fn a_hello_over_two_datagrams_whose_pieces_are_shuffled_is_whole_with_the_last() {
    // As browsers send it: with a post-quantum key share, in frames in random order.
    let hello = client_hello("pq.example.org", &["h3"], 1_800);
    let sealer = Sealer::new(V1, b"\x01\x02\x03\x04\x05\x06\x07\x08");
    let first = [
        crypto(900, &hello[900..1500]),
        vec![1, 0, 0],
        crypto(40, &hello[40..300]),
    ]
    .concat();
    let second = [
        crypto(1500, &hello[1500..]),
        crypto(300, &hello[300..900]),
        vec![1],
        crypto(0, &hello[..40]),
    ];
    let first = datagram(&sealer.client(0, b"", b"", &first));
    let second = datagram(&sealer.client(1, b"", b"", &second.concat()));
    for (first, second) in [(&first, &second), (&second, &first)] {
        let mut opening = Opening::begin(&initials(first)[0]).unwrap();
        assert!(opening.client_hello().is_none() && opening.held() > 0);
        assert!(opening.add(Side::Client, &initials(second)[0]));
        assert_eq!(
            opening.client_hello().unwrap().sni.as_deref(),
            Some("pq.example.org")
        );
        assert_eq!(opening.held(), 0);
    }
}

#[test]
fn after_a_retry_the_keys_follow_from_the_servers_number() {
    let hello = client_hello("retry.example.org", &["h3"], 200);
    let before = Sealer::new(V1, b"random of client");
    let after = Sealer::new(V1, b"of server");
    let first = before.client(0, b"me", b"", &crypto(0, &hello));
    let again = after.client(1, b"me", b"a token", &crypto(0, &hello));
    let mut opening = Opening::begin(&initials(&first)[0]).unwrap();
    assert!(!opening.add(Side::Client, &initials(&again)[0]));
    let without_token = after.client(1, b"me", b"", &crypto(0, &hello));
    assert!(!opening.retry(&initials(&without_token)[0]));
    assert!(opening.retry(&initials(&again)[0]));
    let answer = after.server(0, b"me", b"of server", &crypto(0, &server_hello(false)));
    assert!(opening.add(Side::Server, &initials(&answer)[0]));
    assert_eq!(
        opening.client_hello().unwrap().sni.as_deref(),
        Some("retry.example.org")
    );
    assert!(opening.server_hello().is_some());
    // A connection that was answered does not begin again.
    assert!(!opening.retry(&initials(&again)[0]));
}

#[test]
fn the_server_may_answer_in_the_other_version() {
    let origin = b"random of client";
    let first = Sealer::new(V1, origin).client(
        0,
        b"me",
        b"",
        &crypto(0, &client_hello("v.example", &["h3"], 200)),
    );
    let mut opening = Opening::begin(&initials(&first)[0]).unwrap();
    let stranger = Sealer::new(V2, b"another").server(0, b"me", b"it", &crypto(0, &server_hello(false)));
    assert!(!opening.add(Side::Server, &initials(&stranger)[0]));
    let answer = Sealer::new(V2, origin).server(0, b"me", b"it", &crypto(0, &server_hello(false)));
    assert!(opening.add(Side::Server, &initials(&answer)[0]));
    assert_eq!(opening.version(), Version::V2);
    let next = Sealer::new(V2, origin).client(1, b"me", b"", &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(opening.add(Side::Client, &initials(&next)[0]));
}

#[test]
fn a_server_that_asks_for_another_key_share_answers_twice() {
    let sealer = Sealer::new(V1, b"random of client");
    let hello = client_hello("hrr.example", &["h3"], 200);
    let mut opening =
        Opening::begin(&initials(&sealer.client(0, b"me", b"", &crypto(0, &hello)))[0]).unwrap();
    let ask = server_hello(true);
    assert!(opening.add(
        Side::Server,
        &initials(&sealer.server(0, b"me", b"it", &crypto(0, &ask)))[0]
    ));
    assert!(opening.server_hello().is_none());
    let answer = crypto(ask.len(), &server_hello(false));
    assert!(opening.add(
        Side::Server,
        &initials(&sealer.server(1, b"me", b"it", &answer))[0]
    ));
    assert_eq!(opening.server_hello().unwrap().cipher_suite, 0x1301);
}

#[test]
fn a_side_that_gives_up_says_why() {
    let sealer = Sealer::new(V1, b"random of client");
    let hello = client_hello("no.example", &["h3"], 200);
    let mut opening =
        Opening::begin(&initials(&sealer.client(0, b"me", b"", &crypto(0, &hello)))[0]).unwrap();
    assert_eq!(opening.closed(), None);
    // no_application_protocol, as an error of the transport.
    let close = [&[0x1c, 0x41, 0x78, 6, 0][..], &[0; 20]].concat();
    assert!(opening.add(
        Side::Server,
        &initials(&sealer.server(0, b"me", b"it", &close))[0]
    ));
    assert_eq!(opening.closed(), Some(0x178));
}

#[test]
fn only_offers_of_http3_alone_settle_on_it() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert!(is_http3(&names(&["h3"])) && is_http3(&names(&["h3", "h3-29"])));
    assert!(!is_http3(&names(&["h3", "hq-interop"])) && !is_http3(&names(&["doq"])) && !is_http3(&[]));
}

proptest! {
    /// Any division into frames and datagrams, in any order, some of them twice: the same hello.
    #[test]
    fn any_division_of_a_hello_gives_the_same(
        length in 120_usize..4_000,
        cuts in prop::collection::vec(1_usize..700, 1..12),
        order in prop::collection::vec(any::<u16>(), 24),
        version in prop::bool::ANY,
    ) {
        let hello = client_hello("any.example.org", &["h3", "h3-29"], length);
        let sealer = Sealer::new(if version { V1 } else { V2 }, b"eight..!");
        let mut pieces = Vec::new();
        let mut at = 0;
        // Of more than 128 pieces, more than 64 may wait apart from each other, which is the bound.
        let least = hello.len().div_ceil(128);
        for cut in cuts.iter().cycle() {
            let end = (at + cut.max(&least)).min(hello.len());
            pieces.push(crypto(at, &hello[at..end]));
            at = end;
            if at == hello.len() {
                break;
            }
        }
        let mut keyed: Vec<_> = order.iter().cycle().zip(pieces).collect();
        keyed.sort_by_key(|(key, _)| **key);
        let mut frames: Vec<_> = keyed.into_iter().map(|(_, piece)| piece).collect();
        frames.push(frames[0].clone());
        let mut opening: Option<Opening> = None;
        for (number, frames) in frames.chunks(2).enumerate() {
            let sent = datagram(&sealer.client(number as u64, b"me", b"", &frames.concat()));
            let packet = initials(&sent)[0];
            match &mut opening {
                Some(opening) => prop_assert!(opening.add(Side::Client, &packet)),
                None => opening = Opening::begin(&packet),
            }
        }
        let opening = opening.unwrap();
        let found = opening.client_hello().unwrap();
        prop_assert_eq!(found.sni.as_deref(), Some("any.example.org"));
        prop_assert_eq!(&found.alpn[..], &["h3".to_owned(), "h3-29".to_owned()][..]);
        prop_assert_eq!(opening.held(), 0);
    }
}
