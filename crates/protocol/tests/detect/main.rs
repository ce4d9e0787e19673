//! "Detection never mislabels": what is of no known protocol stays `other`, on whatever port, and what is of one is not taken for another.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod others;

use proptest::prelude::*;
use qtap_protocol::detect::{Detection, Hints, Protocol, detect};

/// Ports on which each protocol is at home.
const PORTS: &[u16] = &[
    80, 443, 8080, 8443, 53, 3306, 33060, 5432, 6379, 6380, 9092, 9093, 27017, 50051,
];

fn found(client: &[u8], server: &[u8], port: u16, midstream: bool) -> Detection {
    let hints = Hints {
        server_port: port,
        midstream,
        ..Hints::default()
    };
    detect(client, server, &hints)
}

fn known(detection: Detection) -> Option<Protocol> {
    match detection {
        Detection::Known(protocol) => Some(protocol),
        Detection::NeedMore | Detection::Other => None,
    }
}

/// Protocols that are not parsed, by what their documents say passes first: never anything else, however much of it has come, and on
/// whatever port.
#[test]
fn other_protocols_stay_other_at_every_split_on_every_port() {
    for (name, client, server) in others::ALL {
        for port in PORTS {
            for cut in 0..=client.len() {
                let detection = found(&client[..cut], b"", *port, false);
                assert_eq!(
                    known(detection),
                    None,
                    "{name}, {cut} bytes of the client, port {port}"
                );
                let detection = found(&client[..cut], server, *port, false);
                assert_eq!(
                    known(detection),
                    None,
                    "{name}, {cut} bytes and the answer, port {port}"
                );
            }
            for cut in 0..=server.len() {
                let detection = found(client, &server[..cut], *port, false);
                assert_eq!(
                    known(detection),
                    None,
                    "{name}, {cut} bytes of the server, port {port}"
                );
                let detection = found(b"", &server[..cut], *port, false);
                assert_eq!(known(detection), None, "{name}, the server first, port {port}");
            }
        }
    }
}

/// Joined in the middle less is asked for; what these say is not enough all the same.
#[test]
fn other_protocols_stay_other_in_the_middle_too() {
    for (name, client, server) in others::ALL {
        for port in PORTS {
            for skip in 0..client.len().min(24) {
                let detection = found(&client[skip..], server, *port, true);
                assert_eq!(known(detection), None, "{name} from byte {skip}, port {port}");
            }
        }
    }
}

/// Bytes that a random binary protocol may send: lengths that fit before noise, which is what most protocols look like.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..200);
    let header = 0..8_usize;
    prop::collection::vec((header, body), 1..6).prop_map(|messages| {
        let mut bytes = Vec::new();
        for (kind, body) in messages {
            let length = body.len();
            let short = u16::try_from(length).unwrap();
            let long = u32::try_from(length).unwrap();
            match kind {
                0 => bytes.extend(short.to_be_bytes()),
                1 => bytes.extend(short.to_le_bytes()),
                2 => bytes.extend(long.to_be_bytes()),
                3 => bytes.extend(long.to_le_bytes()),
                4 => bytes.extend((long + 4).to_be_bytes()),
                5 => bytes.extend([&[1][..], &long.to_be_bytes()].concat()),
                6 => bytes.extend([&[0xff, 0][..], &short.to_be_bytes()].concat()),
                _ => bytes.extend(u8::try_from(length).unwrap().to_be_bytes()),
            }
            bytes.extend(body);
        }
        bytes
    })
}

/// Fails when more than `allowed` of `tries` were taken for something.
fn at_most(
    allowed: usize,
    tries: usize,
    port: u16,
    midstream: bool,
    strategy: &BoxedStrategy<(Vec<u8>, Vec<u8>)>,
) {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut wrong = Vec::new();
    for _ in 0..tries {
        let (client, server) = strategy.new_tree(&mut runner).unwrap().current();
        if let Some(protocol) = known(found(&client, &server, port, midstream)) {
            wrong.push((protocol, client, server));
        }
    }
    assert!(
        wrong.len() <= allowed,
        "port {port}: {} of {tries}: {wrong:02x?}",
        wrong.len()
    );
}

/// Noise with a known seed: none of 800 conversations for each port, none of 240 in the middle.
#[test]
fn random_binary_protocols_on_well_known_ports_stay_other() {
    let noise = prop::collection::vec(any::<u8>(), 1..400);
    let strategies = [
        (framed(), framed()).boxed(),
        (noise.clone(), noise).boxed(),
        (framed(), Just(Vec::new())).boxed(),
        (Just(Vec::new()), framed()).boxed(),
    ];
    for port in PORTS {
        for strategy in &strategies {
            at_most(0, 200, *port, false, strategy);
            at_most(0, 60, *port, true, strategy);
        }
    }
}

proptest! {
    /// Text, line by line, that begins with no method and no version.
    #[test]
    fn lines_of_text_stay_other(words in prop::collection::vec("[a-zA-Z0-9.,:;_-]{1,12}", 1..60), port in prop::sample::select(PORTS)) {
        let text = words.chunks(6).map(|line| line.join(" ") + "\r\n").collect::<String>();
        prop_assert_eq!(known(found(text.as_bytes(), text.as_bytes(), port, false)), None);
    }

    /// Detection takes any bytes, comes to an end, and does not change its mind about what it knew.
    #[test]
    fn any_bytes_come_to_an_end(client in prop::collection::vec(any::<u8>(), 4096..4200), server in prop::collection::vec(any::<u8>(), 4096..4200), port in any::<u16>(), midstream in any::<bool>()) {
        prop_assert_ne!(found(&client, &server, port, midstream), Detection::NeedMore);
    }
}
