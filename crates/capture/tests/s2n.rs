//! Functions with the arguments of s2n's and Mbed TLS' own: what looks right is read, what does not is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::hint::black_box;

use common::{Tap, probe, told};
use qtap_capture::Hook;

/// `struct s2n_blob`.
#[repr(C)]
struct Blob {
    data: *mut u8,
    size: u32,
    allocated: u32,
    growable: u64,
}

impl Blob {
    fn of(bytes: &mut [u8]) -> Self {
        Self {
            data: bytes.as_mut_ptr(),
            size: u32::try_from(bytes.len()).unwrap(),
            allocated: 7,
            growable: 0,
        }
    }
}

/// The secret is in the output when the function is over, and not before.
#[inline(never)]
extern "C" fn derive(connection: &u8, kind: u32, label: &Blob, end: u32, output: &mut Blob) -> i32 {
    let length = black_box(output.size as usize);
    // SAFETY: every blob of these tests is of bytes that live longer than the call.
    unsafe { std::slice::from_raw_parts_mut(output.data, length) }.fill(*connection);
    black_box((kind, label.size, end));
    0
}

#[inline(never)]
extern "C" fn prf(connection: &u8, secret: &Blob, label: &Blob, a: &Blob, b: &Blob) -> u32 {
    black_box(u32::from(*connection) + secret.size + label.size + a.size + b.size)
}

/// `mbedtls_ssl_tls13_derive_secret`.
#[inline(never)]
#[allow(clippy::too_many_arguments, reason = "those of the library's")]
extern "C" fn mbedtls(
    hash: u32,
    secret: *const u8,
    secret_length: usize,
    label: *const u8,
    label_length: usize,
    context: *const u8,
    context_length: usize,
    is_hashed: i32,
    output: *mut u8,
    output_length: usize,
) -> i32 {
    black_box((
        hash,
        secret,
        secret_length,
        label,
        label_length,
        context,
        context_length,
        is_hashed,
    ));
    // SAFETY: the tests pass a buffer of that length.
    unsafe { std::slice::from_raw_parts_mut(output, black_box(output_length)) }.fill(6);
    0
}

fn derive_by_s2n(fill: u8, label: &str, length: usize) {
    let mut label = label.as_bytes().to_vec();
    let mut output = vec![0; length];
    black_box(derive(
        &fill,
        2,
        &Blob::of(&mut label),
        1,
        &mut Blob::of(&mut output),
    ));
}

#[test]
fn traffic_secrets_of_s2n_are_read_from_their_blobs_with_their_names() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::S2nDerive, derive as *const () as usize);
    for (fill, label, length) in [
        (1, "c hs traffic", 32),
        (2, "s hs traffic", 48),
        (3, "c ap traffic", 32),
        (4, "s ap traffic", 32),
        (5, "exp master", 32),
        (6, "res master", 32),
    ] {
        derive_by_s2n(fill, label, length);
    }
    let (secrets, misfits) = told(&mut tap);
    assert_eq!(misfits, []);
    let found: Vec<(&str, &[u8])> = (secrets.iter())
        .map(|secret| (secret.label, secret.secret.as_slice()))
        .collect();
    assert_eq!(
        found,
        [
            ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", &[1; 32][..]),
            ("SERVER_HANDSHAKE_TRAFFIC_SECRET", &[2; 48][..]),
            ("CLIENT_TRAFFIC_SECRET_0", &[3; 32][..]),
            ("SERVER_TRAFFIC_SECRET_0", &[4; 32][..]),
        ]
    );
}

/// "The first hit must look as the recipe says": told once a second, and nothing is taken for a secret.
#[test]
fn a_function_that_takes_no_label_is_told_and_not_read() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::S2nDerive, derive as *const () as usize);
    for label in ["finished!", "a", "some text that is no label"] {
        derive_by_s2n(7, label, 32);
    }
    let (secrets, misfits) = told(&mut tap);
    assert_eq!(secrets, []);
    let hooks: Vec<Hook> = misfits.iter().map(|misfit| misfit.hook).collect();
    assert_eq!(hooks, [Hook::S2nDerive]);
}

#[test]
fn the_master_secret_of_s2n_is_read_where_its_keys_are_expanded() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::S2nPrf, prf as *const () as usize);
    for label in ["master secret", "key expansion", "client finished"] {
        let (mut master, mut label) = ([4; 48], label.as_bytes().to_vec());
        let (mut server, mut client) = ([3; 32], [2; 32]);
        black_box(prf(
            &1,
            &Blob::of(&mut master),
            &Blob::of(&mut label),
            &Blob::of(&mut server),
            &Blob::of(&mut client),
        ));
    }
    let (secrets, misfits) = told(&mut tap);
    assert_eq!(misfits, [], "other labels of the PRF are its own");
    let [secret] = secrets.as_slice() else {
        panic!("{secrets:?}");
    };
    assert_eq!(
        (secret.label, secret.secret.as_slice(), secret.client_random),
        ("CLIENT_RANDOM", &[4; 48][..], Some([2; 32]))
    );
}

/// As one that derives traffic secrets does.
#[test]
fn a_function_that_takes_no_label_of_the_prf_is_told_and_not_read() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::S2nPrf, prf as *const () as usize);
    for label in [
        "no such",
        "\x01\x02\x03 thirteen b",
        "some text that is too long for it",
    ] {
        let (mut master, mut label) = ([4; 48], label.as_bytes().to_vec());
        let (mut server, mut client) = ([3; 32], [2; 32]);
        black_box(prf(
            &1,
            &Blob::of(&mut master),
            &Blob::of(&mut label),
            &Blob::of(&mut server),
            &Blob::of(&mut client),
        ));
    }
    let (secrets, misfits) = told(&mut tap);
    assert_eq!(secrets, []);
    let hooks: Vec<Hook> = misfits.iter().map(|misfit| misfit.hook).collect();
    assert_eq!(hooks, [Hook::S2nPrf]);
}

#[test]
fn traffic_secrets_of_mbedtls_are_read_from_their_last_arguments() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::MbedtlsDerive, mbedtls as *const () as usize);
    for (label, length) in [("derived", 32_usize), ("s ap traffic", 48), ("res master", 32)] {
        let (secret, context, mut output) = ([1; 48], [2; 48], [0; 64]);
        black_box(mbedtls(
            9,
            secret.as_ptr(),
            length,
            label.as_ptr(),
            label.len(),
            context.as_ptr(),
            length,
            1,
            output.as_mut_ptr(),
            length,
        ));
    }
    let (secrets, _) = told(&mut tap);
    let found: Vec<(&str, &[u8])> = (secrets.iter())
        .map(|secret| (secret.label, secret.secret.as_slice()))
        .collect();
    assert_eq!(found, [("SERVER_TRAFFIC_SECRET_0", &[6; 48][..])]);
}
