//! P-D1 to P-D3 for MySQL, and that nothing else is taken for it.

use proptest::prelude::*;
use qtap_protocol::detect::{Detection, Hints, Protocol, detect};

use crate::support::USUAL;
use crate::wire::*;

const MYSQL: Detection = Detection::Known(Protocol::MySql);

fn found(client: &[u8], server: &[u8], midstream: bool) -> Detection {
    let hints = Hints {
        server_port: 3306,
        midstream,
        ..Hints::default()
    };
    detect(client, server, &hints)
}

#[test]
fn each_beginning_at_every_split() {
    let refusal = packet(0, b"\xff\x10\x04Too many connections");
    let blocked = packet(0, b"\xff\x6a\x04#HY000Host '10.0.0.1' is not allowed");
    for whole in [greeting(USUAL, 0), refusal, blocked] {
        for cut in 1..whole.len() {
            let detection = found(b"", &whole[..cut], false);
            assert!(
                matches!(detection, Detection::NeedMore | MYSQL),
                "{cut}: {detection:?}"
            );
        }
        assert_eq!(found(b"", &whole, false), MYSQL);
    }
    let answered = login(1, USUAL, 0, "shop", "till");
    assert_eq!(found(&answered, &greeting(USUAL, 0), false), MYSQL);
}

#[test]
fn p_my8_in_the_middle() {
    let rows = reply(&[columns(&["a"]), vec![row(&[Some("1")]), end(0)]].concat());
    for (client, server) in [
        (query("select 1"), rows.clone()),
        (query("select 1"), reply(&[ok(1, 0, 0)])),
        (execute(7, 1), reply(&[error(1064, "42000", "no")])),
        (command(0x0e, b""), reply(&[ok(0, 0, 0)])),
        ([close(7), query("select 1")].concat(), b"\x05rest".to_vec()),
        (
            Vec::new(),
            packets(77, &[row(&[Some("1")]), row(&[Some("2")]), end(0)]),
        ),
        (frame(0, &query("select 1"), false), frame(1, &rows, false)),
        (
            frame(0, &query(&"select 1 ".repeat(99)), true),
            frame(1, &rows.repeat(9), true),
        ),
        (
            frame(0, &query("select 1"), false),
            zstd_frame(1, &rows.repeat(9)),
        ),
    ] {
        assert_eq!(found(&client, &server, true), MYSQL, "{client:?} {server:?}");
    }
    assert_eq!(found(&query("select 1"), b"", true), Detection::NeedMore);
    assert_eq!(found(&query("select 1")[..9], b"", true), Detection::NeedMore);
}

#[test]
fn others_on_the_port_of_mysql_stay_others() {
    for (client, server) in [
        (&b""[..], &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..]),
        (b"", b"220 mail.example ESMTP\r\n"),
        (b"", b"\x4a\0\0\0\x095.7.0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        (b"\x03\0\0\0select", b""),
        (b"\xff\xff\xff\xff\xff", &greeting(USUAL, 0)),
    ] {
        assert_eq!(
            found(client, server, false),
            Detection::Other,
            "{client:?} {server:?}"
        );
    }
    // A request of Kafka.
    let other = b"\0\0\0\x2b\0\x12\0\x03\0\0\0\x01\0\x05";
    assert_ne!(found(other, b"", false), MYSQL);
}

proptest! {
    #[test]
    fn random_binary_bytes_are_never_mysql(
        client in prop::collection::vec(any::<u8>(), 0..300),
        server in prop::collection::vec(any::<u8>(), 8..300),
        midstream: bool,
    ) {
        prop_assert_ne!(found(&client, &server, midstream), MYSQL);
    }
}
