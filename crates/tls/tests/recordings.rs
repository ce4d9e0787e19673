//! What OpenSSL's client and server said to each other: suites and habits that rustls does not have.
//! Origin of the recordings: `fixtures/record.py`, OpenSSL 3.0.22.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Heard, Recording, hear};
use qtap_tls::{Label, Secret, Side, Time, Unreadable};
use zeroize::Zeroizing;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn load(name: &str) -> Recording {
    let path = format!("{}/tests/fixtures/{name}.rec", env!("CARGO_MANIFEST_DIR"));
    let mut recording = Recording::default();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["C", bytes] => recording.wire.push((Side::Client, hex(bytes))),
            ["S", bytes] => recording.wire.push((Side::Server, hex(bytes))),
            ["T", typed] => {
                recording.plain[0] = hex(typed);
                // The server answers each line with the line reversed.
                for line in hex(typed)
                    .split(|&byte| byte == b'\n')
                    .filter(|line| !line.is_empty())
                {
                    recording.plain[1].extend(line.iter().rev());
                    recording.plain[1].push(b'\n');
                }
            }
            ["K", label, random, secret] => {
                let Some(label) = Label::from_name(label) else {
                    continue;
                };
                recording.secrets.push(Secret {
                    label,
                    bytes: Zeroizing::new(hex(secret)),
                    client_random: Some(hex(random).try_into().unwrap()),
                    time: Time(0),
                    origin: None,
                });
            }
            _ => {}
        }
    }
    recording
}

fn assert_read(name: &str) -> Heard {
    let mut recording = load(name);
    for anonymous in [false, true] {
        if anonymous {
            recording
                .secrets
                .iter_mut()
                .for_each(|secret| secret.client_random = None);
        }
        let (session, heard) = hear(&recording);
        assert_eq!(heard.unreadable, [], "{name}");
        assert_eq!(heard.gaps, [[], []], "{name}");
        assert!(!recording.plain[0].is_empty());
        assert_eq!(heard.plain, recording.plain, "{name}");
        assert_eq!(heard.bound, [1, 1], "{name}");
        assert!(!session.is_waiting(), "{name}");
    }
    hear(&recording).1
}

#[test]
fn key_exchanges_without_ephemeral_elliptic_curves_are_read() {
    for name in [
        "tls12_rsa_aes128_gcm",
        "tls12_dhe_aes256_gcm",
        "tls12_psk_aes128_gcm",
        "tls12_psk_chacha20",
    ] {
        assert_read(name);
    }
}

#[test]
fn renegotiation_is_followed() {
    let heard = assert_read("tls12_renegotiation");
    assert_eq!((heard.client_hellos, heard.server_hellos), (2, 2));
}

#[test]
fn padding_is_removed() {
    assert_read("tls13_padding");
}

#[test]
fn key_update_by_openssl_is_followed() {
    assert_read("tls13_key_update");
}

#[test]
fn suites_that_cannot_be_opened_are_told_once() {
    for (name, reason) in [
        ("tls12_cbc", Unreadable::CipherSuite(0xc013)),
        ("tls12_ccm", Unreadable::CipherSuite(0xc09c)),
        ("tls13_ccm", Unreadable::CipherSuite(0x1304)),
        ("tls11", Unreadable::Version(0x0302)),
    ] {
        let (session, heard) = hear(&load(name));
        assert_eq!(heard.unreadable, [reason], "{name}");
        assert_eq!((heard.plain, session.buffered()), ([vec![], vec![]], 0));
    }
}
