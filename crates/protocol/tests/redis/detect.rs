//! P-D1 to P-D3 for RESP, and that nothing else is taken for it.

use proptest::prelude::*;
use qtap_protocol::detect::{Detection, Hints, Protocol, detect};

use crate::support::command;

const REDIS: Detection = Detection::Known(Protocol::Redis);

fn start(client: impl AsRef<[u8]>, server: impl AsRef<[u8]>) -> Detection {
    let hints = Hints {
        server_port: 6379,
        ..Hints::default()
    };
    detect(client.as_ref(), server.as_ref(), &hints)
}

fn midstream(client: impl AsRef<[u8]>, server: impl AsRef<[u8]>) -> Detection {
    let hints = Hints {
        server_port: 6379,
        midstream: true,
        ..Hints::default()
    };
    detect(client.as_ref(), server.as_ref(), &hints)
}

#[test]
fn a_command_at_every_split() {
    let whole = command(&["SET", "key", "value"]);
    for cut in 0..whole.len() {
        let found = start(&whole[..cut], "");
        assert!(matches!(found, Detection::NeedMore | REDIS), "{cut}: {found:?}");
    }
    assert_eq!(start(&whole, ""), REDIS);
    assert_eq!(
        start([&command(&["SET", "k", &"v".repeat(9000)])[..4096]].concat(), ""),
        REDIS
    );
}

#[test]
fn an_inline_command_needs_its_answer() {
    for cut in 1..6 {
        assert_eq!(start(&b"PING\r\n"[..cut], ""), Detection::NeedMore);
    }
    assert_eq!(start("PING\r\n", "+PONG\r\n"), REDIS);
    assert_eq!(start("ping\n", "-NOAUTH Authentication required.\r\n"), REDIS);
    assert_eq!(start("PING\r\n", "what?\r\n"), Detection::Other);
    assert_eq!(
        start("get foo\r\n", "VALUE foo 0 3\r\nbar\r\nEND\r\n"),
        Detection::Other,
        "memcached"
    );
}

#[test]
fn p_d3_in_the_middle() {
    let whole = command(&["GET", "key"]);
    assert_eq!(midstream(&whole, ""), REDIS);
    assert_eq!(midstream([b"lue\r\n".as_slice(), &whole].concat(), ""), REDIS);
    assert_eq!(
        midstream("", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n"),
        REDIS
    );
    assert_eq!(midstream("", "+OK\r\n"), Detection::NeedMore);
}

#[test]
fn others_on_the_port_of_redis_stay_others() {
    for (client, server) in [
        ("", "220 mail ESMTP\r\n"),
        ("", "+OK POP3 ready\r\n"),
        ("", "$ welcome\r\n"),
        ("*hello*\r\n", ""),
        ("*1\r\nPING\r\n", ""),
        ("*3\r\n:1\r\n", ""),
        ("*9999999999\r\n", ""),
        ("*2\r\n$4\r\nPINGxx", ""),
        ("USER alice\r\n", "331 password\r\n"),
        ("EHLO x\r\n", ""),
    ] {
        assert_eq!(start(client, server), Detection::Other, "{client:?} {server:?}");
    }
}

proptest! {
    #[test]
    fn random_binary_bytes_are_never_redis(
        client in prop::collection::vec(any::<u8>(), 8..300),
        server in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert_ne!(start(&client, &server), REDIS);
        prop_assert_ne!(midstream(&client, &server), REDIS);
    }

    #[test]
    fn a_star_and_random_bytes_are_never_redis(client in prop::collection::vec(any::<u8>(), 8..300)) {
        prop_assert_ne!(start([b"*".as_slice(), &client].concat(), ""), REDIS);
    }
}
