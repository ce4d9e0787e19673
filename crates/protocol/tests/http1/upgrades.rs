//! 101 and CONNECT end HTTP (P-W1, P-C1, §4.5).

use qtap_protocol::Side;

use crate::support::Talk;

#[test]
fn p_w1_websocket_hands_back_what_follows() {
    Talk::new()
        .client("GET /ws HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n")
        .client("early")
        .server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframe")
        .says(&[
            "1 GET /ws",
            "1c end",
            "1 101",
            "1s end",
            "1 Upgraded",
            "1 to WebSocket c[early] s[frame]",
        ])
        .close();
}

#[test]
fn h2c_and_other_tokens_are_told_apart() {
    Talk::new()
        .client("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n")
        .server("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        .says(&[
            "1 GET /",
            "1c end",
            "1 101",
            "1s end",
            "1 Upgraded",
            "1 to H2c c[] s[]",
        ]);
    Talk::new()
        .client("GET / HTTP/1.1\r\nUpgrade: TLS/1.0, x\r\n\r\n")
        .server("HTTP/1.1 101 x\r\n\r\n\x16")
        .says(&[
            "1 GET /",
            "1c end",
            "1 101",
            "1s end",
            "1 Upgraded",
            "1 to Other(\"tls/1.0\") c[] s[\u{16}]",
        ]);
}

#[test]
fn p_c1_connect_becomes_a_tunnel_whatever_lengths_say() {
    Talk::new()
        .client("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n\x16\x03\x01")
        .client("more")
        .server("HTTP/1.1 200 Connection established\r\nContent-Length: 9\r\n\r\nraw")
        .says(&[
            "1 CONNECT h:443",
            "1c end",
            "1 200",
            "1s end",
            "1 Upgraded",
            "1 to Tunnel c[\u{16}\u{3}\u{1}more] s[raw]",
        ]);
}

#[test]
fn a_refused_upgrade_goes_on_with_the_requests_that_waited() {
    Talk::new()
        .client("GET /1 HTTP/1.1\r\nUpgrade: h2c\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        .says(&["1 GET /1", "1c end"])
        .server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 x\r\n\r\n")
        .says(&[
            "1 GET /1",
            "1c end",
            "1 200",
            "1s end",
            "1 Complete",
            "2 GET /2",
            "2c end",
            "2 204",
            "2s end",
            "2 Complete",
        ]);
}

#[test]
fn a_refused_connect_is_an_ordinary_response() {
    Talk::new()
        .client("CONNECT h:443 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 407 Auth\r\nContent-Length: 2\r\n\r\nno")
        .says(&[
            "1 CONNECT h:443",
            "1c end",
            "1 407",
            "1s body no",
            "1s end",
            "1 Complete",
        ]);
}

#[test]
fn bytes_held_for_an_upgrade_are_reported_at_close() {
    Talk::new()
        .client("CONNECT h:443 HTTP/1.1\r\n\r\nabc")
        .close()
        .says(&[
            "1 CONNECT h:443",
            "1c end",
            "c resync 3 no answer to a change of protocol",
            "1 Canceled",
        ]);
}

#[test]
fn requests_that_are_open_at_an_upgrade_end_before_it() {
    Talk::new()
        .client("GET /1 HTTP/1.1\r\n\r\nbad\r\nPOST /2 HTTP/1.1\r\nContent-Length: 9\r\n\r\nab")
        .server("HTTP/1.1 101 x\r\n\r\n")
        .says(&[
            "1 GET /1",
            "1c end",
            "c resync 5 bad request line",
            "2 POST /2",
            "2c body ab",
            "1 101",
            "1s end",
            "1 Upgraded",
            "2 Incomplete",
            "1 to Other(\"\") c[] s[]",
        ])
        .close();
}

#[test]
fn no_bytes_are_taken_after_an_upgrade() {
    use qtap_protocol::{ParseError, Parser, Time};
    let mut talk = Talk::new()
        .client("GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n")
        .server("HTTP/1.1 101 x\r\n\r\n");
    let result = talk
        .parser
        .bytes(Side::Client, "x".into(), Time(9), &mut talk.events);
    assert!(matches!(result, Err(ParseError::NotThisProtocol { .. })));
}
