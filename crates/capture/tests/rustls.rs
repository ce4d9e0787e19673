//! Functions with the results of rustls' own: what looks right is read, what does not is told.

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

/// `OkmBlock` of rustls.
#[repr(C)]
struct Block {
    bytes: [u8; 64],
    used: usize,
}

#[inline(never)]
extern "C" fn derive(fill: u8, used: usize, garbage: u8) -> Block {
    let mut bytes = [garbage; 64];
    bytes[..used.min(64)].fill(fill);
    black_box(Block { bytes, used })
}

/// `ConnectionSecrets` of rustls.
#[repr(C)]
struct Secrets {
    suite: usize,
    client_random: [u8; 32],
    server_random: [u8; 32],
    master: [u8; 48],
}

/// A result of the size of a `Vec`, hence written through a pointer.
#[repr(C)]
struct KeyBlock([usize; 3]);

#[inline(never)]
extern "C" fn make_key_block(secrets: &Secrets) -> KeyBlock {
    black_box(KeyBlock([secrets.suite; 3]))
}

#[test]
fn a_derived_secret_is_read_from_the_result_without_a_name() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::RustlsDerive, derive as *const () as usize);
    black_box(derive(7, 32, 0));
    black_box(derive(8, 48, 0));
    let (secrets, misfits) = told(&mut tap);
    assert_eq!(misfits, []);
    let bytes: Vec<&[u8]> = secrets.iter().map(|secret| secret.secret.as_slice()).collect();
    assert_eq!(bytes, [&[7; 32][..], &[8; 48][..]]);
    assert!(
        secrets
            .iter()
            .all(|secret| secret.label == "UNNAMED_TRAFFIC_SECRET")
    );
}

/// "The first hit must look as the recipe says": told once a second, and nothing is taken for a secret.
#[test]
fn a_result_of_another_shape_is_told_and_not_read() {
    for (used, garbage) in [(20, 0), (1 << 40, 0), (32, 9)] {
        let mut tap = Tap::start();
        let _links = probe(&tap, Hook::RustlsDerive, derive as *const () as usize);
        for _ in 0..3 {
            black_box(derive(7, used, garbage));
        }
        let (secrets, misfits) = told(&mut tap);
        assert_eq!(secrets, []);
        let hooks: Vec<Hook> = misfits.iter().map(|misfit| misfit.hook).collect();
        assert_eq!(hooks, [Hook::RustlsDerive], "{used}");
    }
}

#[test]
fn a_master_secret_is_read_from_the_object_with_its_client_random() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::RustlsKeyBlock, make_key_block as *const () as usize);
    let secrets = Secrets {
        suite: 1,
        client_random: [2; 32],
        server_random: [3; 32],
        master: [4; 48],
    };
    black_box((make_key_block(&secrets).0, secrets.server_random));
    let (secrets, _) = told(&mut tap);
    let [secret] = secrets.as_slice() else {
        panic!("{secrets:?}");
    };
    assert_eq!(
        (secret.label, secret.secret.as_slice()),
        ("CLIENT_RANDOM", &[4; 48][..])
    );
    assert_eq!(secret.client_random, Some([2; 32]));
}
