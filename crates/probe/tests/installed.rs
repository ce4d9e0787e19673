//! The libraries of this machine (Debian 12: OpenSSL 3.0, GnuTLS 3.7, nettle 3.8), as programs use them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs::File;
use std::path::{Path, PathBuf};

use qtap_capture::Hook;
use qtap_probe::{Classification, Crypto, Found, Implementation, classify, tls_libraries};

fn library(name: &str) -> PathBuf {
    let found = tls_libraries()
        .unwrap()
        .into_iter()
        .find(|path| path.to_string_lossy().contains(name));
    found.unwrap_or_else(|| panic!("{name} has to be installed for this test"))
}

fn classified(path: &Path) -> Classification {
    classify(&File::open(path).unwrap()).unwrap()
}

fn hooks(points: &[qtap_probe::Point]) -> Vec<Hook> {
    points.iter().map(|point| point.hook).collect()
}

#[test]
fn libssl_has_the_log_function_and_all_calls() {
    let libssl = classified(&library("/libssl.so.3"));

    assert_eq!(libssl.implementations, [Implementation::OpenSsl]);
    assert_eq!(hooks(&libssl.secrets), [Hook::LogSecret]);
    assert_eq!(
        libssl.secrets[0].found,
        Found::CrossReference,
        "distributions do not export it"
    );
    let calls = [
        Hook::SslRead,
        Hook::SslReadEx,
        Hook::SslWrite,
        Hook::SslWriteEx,
        Hook::SslFree,
    ];
    assert_eq!(hooks(&libssl.calls), calls);
    assert_eq!(libssl.needs_crypto(), None);
    assert_eq!(libssl.unsupported(), None);
    assert!(libssl.build_id.is_some());
    assert!(libssl.missing.is_empty(), "{:?}", libssl.missing);
}

#[test]
fn libcrypto_is_only_a_fallback() {
    let libcrypto = classified(&library("/libcrypto.so.3"));

    assert_eq!(libcrypto.crypto, Some(Crypto::OpenSsl));
    assert!(libcrypto.implementations.is_empty() && libcrypto.secrets.is_empty());
    assert_eq!(hooks(&libcrypto.fallback), [Hook::EvpKdfDerive]);
}

#[test]
fn libgnutls_has_the_log_function_and_the_derivation_of_resumed_sessions() {
    let libgnutls = classified(&library("/libgnutls.so.30"));

    assert_eq!(libgnutls.implementations, [Implementation::GnuTls]);
    assert_eq!(hooks(&libgnutls.secrets), [Hook::LogSecret, Hook::GnutlsPrfRaw]);
    assert_eq!(
        hooks(&libgnutls.calls),
        [Hook::GnutlsRecv, Hook::GnutlsSend, Hook::GnutlsDeinit]
    );
    assert_eq!(libgnutls.needs_crypto(), None);
}

#[test]
fn libnettle_is_only_a_fallback() {
    let libnettle = classified(&library("/libnettle.so"));

    assert_eq!(libnettle.crypto, Some(Crypto::Nettle));
    assert_eq!(hooks(&libnettle.fallback), [Hook::NettleHkdfExpand]);
}

#[test]
fn offsets_of_symbols_are_those_that_nm_and_readelf_give() {
    let path = library("/libssl.so.3");
    let nm = std::process::Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(nm.stdout).unwrap();
    let address = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.split([' ', '@']).nth(2) == Some(name))
            .unwrap();
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    };
    // Debian's linker gives the code of this library the same address and offset.
    for point in classified(&path).calls {
        assert_eq!(point.offset, address(&point.symbol), "{}", point.symbol);
    }
}

#[test]
fn programs_without_tls_code_are_irrelevant() {
    for path in ["/bin/sleep", "/proc/self/exe"] {
        let found = classified(Path::new(path));
        assert_eq!(found.crypto, None);
        assert!(
            found.calls.is_empty() && found.secrets.is_empty(),
            "{path}: {found:?}"
        );
    }
    assert!(!classified(Path::new("/bin/sleep")).is_relevant());
}

#[test]
fn wolfssl_has_both_derivations_itself() {
    let wolfssl = classified(&library("/libwolfssl.so"));

    assert_eq!(wolfssl.implementations, [Implementation::WolfSsl]);
    assert_eq!(
        hooks(&wolfssl.secrets),
        [Hook::WolfsslExpandLabel, Hook::WolfsslPrf]
    );
    assert_eq!(
        hooks(&wolfssl.calls),
        [Hook::WolfsslRead, Hook::WolfsslWrite, Hook::WolfsslFree]
    );
}

#[test]
fn mbedtls_needs_its_crypto_library() {
    let tls = classified(&library("/libmbedtls.so"));
    let crypto = classified(&library("/libmbedcrypto.so"));

    assert_eq!(tls.implementations, [Implementation::MbedTls]);
    assert_eq!(
        (tls.needs_crypto(), tls.unsupported()),
        (Some(Crypto::MbedTls), None)
    );
    assert_eq!(
        hooks(&tls.calls),
        [
            Hook::MbedtlsRead,
            Hook::MbedtlsWrite,
            Hook::MbedtlsFree,
            Hook::MbedtlsFree
        ]
    );
    assert_eq!(crypto.crypto, Some(Crypto::MbedTls));
    assert_eq!(
        hooks(&crypto.fallback),
        [Hook::MbedtlsHmacStarts, Hook::MbedtlsHmacUpdate]
    );
}

/// freebl's functions have no names outside: they are found in the table that its one export returns.
#[test]
fn nss_needs_libnss3_and_the_table_of_freebl() {
    let tls = classified(&library("/libssl3.so"));
    let labels = classified(&library("/libnss3.so"));
    let freebl = classified(&library("/libfreeblpriv3.so"));

    assert_eq!(tls.implementations, [Implementation::Nss]);
    assert_eq!((tls.needs_crypto(), tls.unsupported()), (Some(Crypto::Nss), None));
    assert_eq!(hooks(&labels.fallback), [Hook::NssDerive]);
    assert_eq!(hooks(&freebl.fallback), [Hook::NssHmacFinish, Hook::NssTlsPrf]);
    assert!(
        freebl
            .fallback
            .iter()
            .all(|point| point.found == Found::CrossReference)
    );
}

/// The functions that read and write have no names outside either: they are found in the table of operations of sockets with TLS.
#[test]
fn nss_has_its_calls_in_a_table_of_operations() {
    for library in [
        library("/libssl3.so"),
        PathBuf::from("/usr/lib/firefox-esr/libssl3.so"),
    ] {
        let tls = classified(&library);
        assert_eq!(
            hooks(&tls.calls),
            [Hook::NssRecv, Hook::NssSend, Hook::NssClose],
            "{}",
            library.display()
        );
        assert!(tls.calls.iter().all(|point| point.found == Found::CrossReference));
        let mut offsets: Vec<u64> = tls.calls.iter().map(|point| point.offset).collect();
        offsets.dedup();
        assert_eq!(offsets.len(), 3, "{}", library.display());
    }
}
