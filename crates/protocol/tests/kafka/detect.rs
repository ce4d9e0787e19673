//! P-D1 to P-D3 for Kafka, and that nothing else is taken for it.

use kafka_protocol::messages::*;
use proptest::prelude::*;
use qtap_protocol::Side;
use qtap_protocol::detect::{Detection, Hints, Protocol, detect};

use crate::messages::*;
use crate::recorded::conversations;

const KAFKA: Detection = Detection::Known(Protocol::Kafka);

fn hints(midstream: bool) -> Hints<'static> {
    Hints {
        server_port: 9092,
        midstream,
        ..Hints::default()
    }
}

fn start(client: impl AsRef<[u8]>, server: impl AsRef<[u8]>) -> Detection {
    detect(client.as_ref(), server.as_ref(), &hints(false))
}

fn midstream(client: impl AsRef<[u8]>, server: impl AsRef<[u8]>) -> Detection {
    detect(client.as_ref(), server.as_ref(), &hints(true))
}

#[test]
fn the_first_request_at_every_split() {
    let first = [
        request(ApiKey::ApiVersions, 3, 1, &ApiVersionsRequest::default()),
        request(ApiKey::ApiVersions, 0, 1, &ApiVersionsRequest::default()),
        metadata(1, 0),
        produce(9, 7, 1, "orders", &[values(&["a"])]),
    ];
    for whole in &first {
        for cut in 0..whole.len() {
            assert_eq!(start(&whole[..cut], ""), Detection::NeedMore, "{cut}");
        }
        assert_eq!(start(whole, ""), KAFKA);
        assert_eq!(
            start([whole.clone(), metadata(1, 2)].concat(), ""),
            KAFKA,
            "coalesced"
        );
    }
    for frames in conversations().values() {
        assert_eq!(start(&frames[0].1, ""), KAFKA);
    }
}

#[test]
fn a_first_request_longer_than_the_window() {
    let value = "v".repeat(20_000);
    let whole = produce(9, 1, 1, "orders", &[values(&[&value])]);
    assert_eq!(start(&whole[..3000], ""), Detection::NeedMore);
    assert_eq!(start(&whole[..4096], ""), KAFKA);
}

#[test]
fn a_version_of_api_versions_that_is_not_known() {
    let mut newer = request(ApiKey::ApiVersions, 3, 1, &ApiVersionsRequest::default());
    newer[7] = 9;
    assert_eq!(start(newer, ""), KAFKA);
}

#[test]
fn p_d3_in_the_middle_by_a_request_and_its_reply_or_by_three_requests() {
    for frames in conversations().values() {
        let of = |side| -> Vec<u8> {
            frames
                .iter()
                .filter(|frame| frame.0 == side)
                .flat_map(|frame| frame.1.clone())
                .collect()
        };
        let (client, server) = (of(Side::Client), of(Side::Server));
        assert_eq!(midstream(&client, &server), KAFKA);
    }
    let one = metadata(1, 77);
    assert_eq!(midstream(&one, ""), Detection::NeedMore);
    assert_eq!(midstream(&one, described(1, 77, &[])), KAFKA);
    assert_eq!(midstream(&one, described(1, 78, &[])), Detection::NeedMore);
    let three = [metadata(1, 1), metadata(1, 2), metadata(1, 3)].concat();
    assert_eq!(
        midstream([b"rest of something".as_slice(), &three].concat(), ""),
        KAFKA
    );
}

#[test]
fn others_on_the_port_of_kafka_stay_others() {
    let postgres = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0".as_slice();
    assert_eq!(start(postgres, ""), Detection::Known(Protocol::Postgres));
    for (client, server) in [
        (b"".as_slice(), b"\x4a\0\0\0\x0a8.0.36\0".as_slice()),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b""),
        (b"\0\0\0\x40\0\x12\0\x03\0\0\0\x01\0\x10\x01\x02\x03bad name", b""),
        (b"\0\0\0\x0b\0\x03\0\x01\0\0\0\x01\0\0\xff", b""),
        (b"\0\0\0\x09\0\x03\0\x01\0\0\0\x01\0\0", b""),
        (&[0; 64], b""),
        (&[0xff; 64], b""),
    ] {
        assert_ne!(start(client, server), KAFKA, "{client:?}");
        assert_ne!(midstream(client, server), KAFKA, "{client:?}");
    }
}

proptest! {
    #[test]
    fn random_bytes_are_never_kafka(
        client in prop::collection::vec(any::<u8>(), 8..600),
        server in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert_ne!(start(&client, &server), KAFKA);
        prop_assert_ne!(midstream(&client, &server), KAFKA);
    }

    #[test]
    fn small_numbers_are_never_kafka(client in prop::collection::vec(0_u8..3, 8..600)) {
        prop_assert_ne!(midstream(&client, &client), KAFKA);
    }
}
