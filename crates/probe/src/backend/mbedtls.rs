//! Mbed TLS. TLS 1.2 makes its keys with the exported HMAC functions of libmbedcrypto, which are probed only where libmbedtls is mapped;
//! TLS 1.3, since 3.2, with a function of libmbedtls itself.

use qtap_capture::Hook;

use super::{Backend, Findings, Source};
use crate::implementation::{Crypto, Implementation};

/// libmbedtls.
pub(super) const BACKEND: Backend = Backend {
    implementation: Implementation::MbedTls,
    crypto: None,
    find: find_tls13,
};

/// libmbedcrypto.
pub(super) const CRYPTO: Backend = Backend {
    implementation: Implementation::MbedTls,
    crypto: Some(Crypto::MbedTls),
    find: find_prf,
};

const DERIVE: &str = "mbedtls_ssl_tls13_derive_secret";

fn find_tls13(source: &Source<'_, '_>, findings: &mut Findings) {
    // A build without TLS 1.3, as all of 2.28 are, misses nothing.
    if source.symbols.has(DERIVE) {
        findings.named(source, Hook::MbedtlsDerive, DERIVE);
    }
}

fn find_prf(source: &Source<'_, '_>, findings: &mut Findings) {
    findings.named(source, Hook::MbedtlsHmacStarts, "mbedtls_md_hmac_starts");
    findings.named(source, Hook::MbedtlsHmacUpdate, "mbedtls_md_hmac_update");
}
