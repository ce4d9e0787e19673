//! P-Pg6: what comes before a session: requests for encryption, and to cancel.

use qtap_protocol::{Event, Outcome, ParseError};

use crate::support::Talk;
use crate::wire::*;

#[test]
fn p_pg6_tls_begins_after_the_servers_yes_and_the_state_is_kept() {
    let mut talk = Talk::with(false);
    talk.client(ssl_request()).server("S");
    assert!(
        matches!(&talk.events[..], [Event::StartTls { client, server, .. }] if client.is_empty() && server.is_empty())
    );
    talk.events.clear();
    talk.client(startup(&["user", "alice"]))
        .server([message(b'R', &[0; 4]), ready(b'I')].concat());
    talk.client(query("select 1"))
        .server([complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(talk.done()[0].brief(), ("select 1".into(), "CommandComplete"));
}

#[test]
fn p_pg6_what_came_with_the_request_for_tls_is_handed_back() {
    let mut talk = Talk::with(false);
    talk.client([ssl_request(), b"\x16\x03\x01".to_vec()].concat())
        .client("more")
        .server("S\x16");
    let [Event::StartTls { client, server, .. }] = &talk.events[..] else {
        panic!("{:?}", talk.events)
    };
    assert_eq!(
        (&client[..], &server[..]),
        (&b"\x16\x03\x01more"[..], &b"\x16"[..])
    );
}

#[test]
fn p_pg6_without_tls_the_session_goes_on_in_clear() {
    let mut talk = Talk::with(false);
    let gss = [8_u32.to_be_bytes(), 80_877_104_u32.to_be_bytes()].concat();
    talk.client(gss)
        .server("N")
        .client(ssl_request())
        .server("N")
        .client(startup(&["user", "alice"]));
    talk.server(ready(b'I'))
        .client(query("select 1"))
        .server([complete("SELECT 1"), ready(b'I')].concat());
    let done = talk.done();
    assert_eq!(
        done[0].command.session.database.as_deref(),
        Some("alice"),
        "the user's name is the default"
    );
    let mut encrypted = Talk::with(false);
    encrypted
        .client([8_u32.to_be_bytes(), 80_877_104_u32.to_be_bytes()].concat())
        .server("G");
    assert!(matches!(encrypted.result, Err(ParseError::Fatal { .. })));
}

#[test]
fn p_pg6_a_request_to_cancel_is_a_short_command_of_its_own() {
    let mut talk = Talk::with(false);
    talk.client([16_u32, 80_877_102, 4242, 77].map(u32::to_be_bytes).concat());
    let done = talk.close();
    assert_eq!(
        (done.len(), done[0].brief(), done[0].outcome),
        (1, ("CANCEL REQUEST".into(), "no_reply"), Outcome::Complete)
    );
}
