//! P-K6: handshakes and tokens, which are never kept.

use kafka_protocol::messages::*;
use qtap_protocol::Outcome;

use crate::messages::*;
use crate::support::Talk;

fn token(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn handshake(version: i16, mechanism: &str, error: i16) -> Talk {
    let mut talk = Talk::new();
    let asked = SaslHandshakeRequest::default().with_mechanism(text(mechanism));
    talk.client(request(ApiKey::SaslHandshake, version, 1, &asked))
        .server(reply(
            ApiKey::SaslHandshake,
            version,
            1,
            &SaslHandshakeResponse::default().with_error_code(error),
        ));
    talk
}

#[test]
fn a_handshake_and_an_authentication() {
    let mut talk = handshake(1, "PLAIN", 0);
    let asked = SaslAuthenticateRequest::default().with_auth_bytes("\0alice\0hunter2".into());
    let told = SaslAuthenticateResponse::default()
        .with_error_code(58)
        .with_error_message(Some(text("Authentication failed: Invalid username or password")));
    talk.client(request(ApiKey::SaslAuthenticate, 1, 2, &asked))
        .server(reply(ApiKey::SaslAuthenticate, 1, 2, &told));
    let done = talk.done();
    assert_eq!(done[0].statement(), "SaslHandshake mechanism=PLAIN");
    assert_eq!(done[1].statement(), "SaslAuthenticate [REDACTED]");
    assert!(done[1].command.redacted);
    assert_eq!(done[1].code(), "SASL_AUTHENTICATION_FAILED");
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}

#[test]
fn bare_tokens_after_a_handshake_of_version_0() {
    for (mechanism, tokens) in [("PLAIN", 1), ("SCRAM-SHA-256", 2), ("GSSAPI", 3)] {
        let mut talk = handshake(0, mechanism, 0);
        for _ in 0..tokens {
            talk.client(token(b"n,,n=alice,r=hunter2"))
                .server(token(b"r=hunter2"));
        }
        talk.client(metadata(1, 2)).server(described(1, 2, &[]));
        let done = talk.done();
        assert_eq!(done.len(), tokens + 2, "{mechanism}");
        assert_eq!(
            done[1].statement(),
            format!("SaslAuthenticate mechanism={mechanism} [REDACTED]")
        );
        assert!(done.iter().all(|done| done.outcome == Outcome::Complete));
        assert_eq!(talk.last().statement(), "Metadata");
        assert!(!format!("{:?}", talk.events).contains("hunter2"), "{mechanism}");
        assert_eq!(talk.orphans() + talk.resyncs(), 0);
    }
}

#[test]
fn a_token_may_be_empty_or_look_like_a_request() {
    let mut talk = handshake(0, "PLAIN", 0);
    let looks = &metadata(1, 2)[4..];
    talk.client(token(looks))
        .server(token(b""))
        .client(metadata(1, 3))
        .server(described(1, 3, &[]));
    assert_eq!(
        talk.done()[1].statement(),
        "SaslAuthenticate mechanism=PLAIN [REDACTED]"
    );
    assert_eq!(talk.last().statement(), "Metadata");
    let mut talk = handshake(0, "GSSAPI", 0);
    talk.client(token(b"\x60\x82"))
        .server(token(b"x"))
        .client(token(b""))
        .server(token(b"yy"));
    assert_eq!(talk.done().len(), 3);
}

#[test]
fn after_a_refused_handshake_requests_go_on() {
    let mut talk = handshake(0, "PLAIN", 33);
    talk.client(metadata(1, 2)).server(described(1, 2, &[]));
    assert_eq!(
        (talk.done()[0].code(), talk.last().statement().as_str()),
        ("UNSUPPORTED_SASL_MECHANISM", "Metadata")
    );
}
