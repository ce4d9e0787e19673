//! Mbed TLS: TLS 1.2 makes its keys with the exported HMAC functions of libmbedcrypto. They are probed only where libmbedtls is mapped.

use qtap_capture::Hook;

use super::{Backend, Findings, Source};
use crate::implementation::{Crypto, Implementation};

pub(super) const BACKEND: Backend = Backend {
    implementation: Implementation::MbedTls,
    crypto: Some(Crypto::MbedTls),
    find,
};

fn find(source: &Source<'_, '_>, findings: &mut Findings) {
    findings.named(source, Hook::MbedtlsHmacStarts, "mbedtls_md_hmac_starts");
    findings.named(source, Hook::MbedtlsHmacUpdate, "mbedtls_md_hmac_update");
}
