//! P-D1 to P-D3 for PostgreSQL, and that nothing else is taken for it.

use proptest::prelude::*;
use qtap_protocol::detect::{Detection, Hints, Protocol, detect};

use crate::wire::*;

const POSTGRES: Detection = Detection::Known(Protocol::Postgres);

fn found(client: &[u8], server: &[u8], midstream: bool) -> Detection {
    let hints = Hints {
        server_port: 5432,
        midstream,
        ..Hints::default()
    };
    detect(client, server, &hints)
}

#[test]
fn each_beginning_at_every_split() {
    let cancel = [16_u32, 80_877_102, 1, 2].map(u32::to_be_bytes).concat();
    let mut newer = startup(&["user", "alice", "_pq_.feature", "on"]);
    newer[7] = 2;
    for whole in [
        ssl_request(),
        cancel,
        startup(&["database", "d", "user", "alice"]),
        newer,
    ] {
        for cut in 1..whole.len() {
            let detection = found(&whole[..cut], b"", false);
            assert!(
                matches!(detection, Detection::NeedMore | POSTGRES),
                "{cut}: {detection:?}"
            );
        }
        assert_eq!(found(&whole, b"", false), POSTGRES);
    }
}

#[test]
fn p_pg9_in_the_middle() {
    let server = [
        columns(&["a"]),
        row(&[Some("1")]),
        complete("SELECT 1"),
        ready(b'I'),
    ]
    .concat();
    assert_eq!(found(&query("select 1"), &server, true), POSTGRES);
    assert_eq!(found(b"", &server, true), POSTGRES);
    assert_eq!(found(&query("select 1"), b"", true), Detection::NeedMore);
    assert_eq!(
        found(&query("select 1"), b"\xff what", true),
        Detection::NeedMore,
        "HTTP may follow"
    );
}

#[test]
fn others_on_the_port_of_postgres_stay_others() {
    for (client, server) in [
        (&b"\0\0\0\x08\x04\xd2\x16\x31"[..], &b""[..]),
        (b"\0\0\0\x20\0\x03\0\0\xff\xff\xff\xff", b""),
        (b"\0\0\0\x2b\0\x12\0\x03\0\0\0\x01\0\x05", b""),
        (b"\0\0\0\x13\0\x03\0\0name\0hal\0\0\0", b""),
    ] {
        assert_ne!(found(client, server, false), POSTGRES, "{client:?}");
    }
}

proptest! {
    #[test]
    fn random_binary_bytes_are_never_postgres(
        client in prop::collection::vec(any::<u8>(), 8..300),
        server in prop::collection::vec(any::<u8>(), 0..300),
        midstream: bool,
    ) {
        prop_assert_ne!(found(&client, &server, midstream), POSTGRES);
    }
}
