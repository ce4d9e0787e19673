//! P-My3: logging in, and TLS in mid-stream.

use qtap_protocol::{Event, ParseError};

use crate::support::{Talk, USUAL};
use crate::wire::*;

#[test]
fn p_my3_a_switch_of_the_way_to_log_in_and_more_data_are_no_end() {
    let mut talk = Talk::with(false);
    talk.server(greeting(USUAL, 0))
        .client(login(1, USUAL, 0, "shop", "till"))
        .server(packet(2, b"\xfecaching_sha2_password\0challenge\0"))
        .client(packet(3, b"hunter2hunter2"))
        // Full authentication; the client asks for the key, and gets it.
        .server(packet(4, b"\x01\x04"))
        .client(packet(5, b"\x02"))
        .server(packet(6, b"\x01-----BEGIN PUBLIC KEY-----"))
        .client(packet(7, b"hunter2"))
        .server(packet(8, &ok(0, 0, AUTOCOMMIT)));
    talk.ask("select 1", &[ok(0, 0, 0)]);
    assert_eq!(talk.briefs(), [("select 1".into(), "OK")]);
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}

#[test]
fn p_my3_an_empty_password_is_an_empty_packet() {
    let mut talk = Talk::with(false);
    talk.server(greeting(USUAL, 0))
        .client(login(1, USUAL, 0, "shop", "till"))
        .server(packet(2, b"\xfemysql_native_password\0challenge\0"))
        .client(packet(3, b""))
        .server(packet(4, &ok(0, 0, AUTOCOMMIT)));
    talk.ask("select 1", &[ok(0, 0, 0)]);
    assert_eq!(talk.briefs(), [("select 1".into(), "OK")]);
}

#[test]
fn a_login_that_fails_is_a_command() {
    let mut talk = Talk::with(false);
    talk.server(greeting(USUAL, 0))
        .client(login(1, USUAL, 0, "shop", "till"))
        .server(packet(2, &error(1045, "28000", "Access denied for user 'alice'")));
    let done = talk.close();
    assert_eq!(done[0].brief(), ("COM_CONNECT".into(), "Error"));
    let shown = done[0].result().error.as_ref().unwrap();
    assert_eq!(
        (shown.code.as_str(), shown.message.as_str()),
        ("1045", "Access denied for user 'alice'")
    );
    assert_eq!(done[0].command.session.user.as_deref(), Some("alice"));
}

#[test]
fn a_server_that_refuses_at_once() {
    let mut talk = Talk::with(false);
    let refusal = [&b"\xff\x10\x04"[..], b"Too many connections"].concat();
    talk.server(packet(0, &refusal));
    let done = talk.close();
    assert_eq!(
        done[0]
            .result()
            .error
            .as_ref()
            .map(|error| error.message.as_str()),
        Some("Too many connections")
    );
}

#[test]
fn tls_begins_in_mid_stream_and_the_session_goes_on_inside() {
    let mut talk = Talk::with(false);
    let hello = b"\x16\x03\x01\x02\0hello";
    talk.server(greeting(USUAL | SSL, 0))
        .client([&ssl_request(USUAL)[..], hello].concat());
    match talk.events.pop().unwrap() {
        Event::StartTls { client, server, .. } => {
            assert_eq!((&client[..], &server[..]), (&hello[..], &b""[..]));
        }
        other => panic!("{other:?}"),
    }
    // What follows is the plaintext.
    talk.client(login(2, USUAL | SSL, 0, "shop", "till"))
        .server(packet(3, &ok(0, 0, AUTOCOMMIT)));
    talk.ask("select 1", &[ok(0, 0, 0)]);
    let done = talk.done();
    assert_eq!(done[0].brief(), ("select 1".into(), "OK"));
    assert_eq!(done[0].command.session.user.as_deref(), Some("alice"));
}

#[test]
fn versions_before_4_1_are_not_parsed() {
    let mut talk = Talk::with(false);
    talk.server(greeting(USUAL, 0))
        .client(packet(1, b"\x05\0\0\0\0alice\0hunter2\0"));
    assert!(matches!(talk.result, Err(ParseError::Fatal { .. })));
}

#[test]
fn a_client_that_speaks_first_is_of_another_protocol() {
    let mut talk = Talk::with(false);
    talk.client(b"GET / HTTP/1.1\r\n");
    assert!(matches!(talk.result, Err(ParseError::NotThisProtocol { .. })));
}
