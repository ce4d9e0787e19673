//! The function names that say whose code a file is and where to probe it.

/// Names kept from symbol tables.
const NAMES: &[&str] = &[
    // OpenSSL family.
    "SSL_CTX_new",
    "SSL_read",
    "SSL_read_ex",
    "SSL_write",
    "SSL_write_ex",
    "SSL_free",
    "ssl_log_secret",
    "OPENSSL_init_ssl",
    "OPENSSL_init_crypto",
    "EVP_KDF_derive",
    "EVP_KDF_fetch",
    "EVP_PKEY_derive",
    "RAND_DRBG_new",
    // Only BoringSSL, only LibreSSL.
    "SSL_CTX_set_grease_enabled",
    "SSL_CTX_use_certificate_chain_mem",
    // GnuTLS and nettle.
    "gnutls_record_recv",
    "gnutls_record_send",
    "gnutls_deinit",
    "_gnutls_prf_raw",
    "_gnutls_call_keylog_func",
    "nettle_hkdf_expand",
    // NSS: libssl3, libnss3, libfreeblpriv3.
    "SSL_ImportFD",
    "PK11_DeriveWithFlags",
    "FREEBL_GetVector",
    // wolfSSL.
    "wolfSSL_read",
    "wolfSSL_write",
    "wolfSSL_free",
    "wc_Tls13_HKDF_Expand_Label",
    "wc_PRF_TLS",
    // Mbed TLS: libmbedtls, libmbedcrypto.
    "mbedtls_ssl_read",
    "mbedtls_ssl_write",
    "mbedtls_ssl_free",
    "mbedtls_ssl_tls13_derive_secret",
    "mbedtls_ssl_session_reset",
    "mbedtls_md_hmac_starts",
    "mbedtls_md_hmac_update",
    // s2n-tls.
    "s2n_recv",
    "s2n_send",
    "s2n_connection_free",
    "s2n_derive_secret_with_context",
    "s2n_prf",
    // Recognised by name.
    "JNI_CreateJavaVM",
];

/// Maps a name of a symbol table to the one that it is kept under.
pub(super) fn wanted(name: &[u8]) -> Option<&'static str> {
    // `bssl::ssl_log_secret(const SSL*, const char*, Span<const uint8_t>)`.
    if name.starts_with(b"_ZN4bssl14ssl_log_secret") {
        return Some("ssl_log_secret");
    }
    let first = name.first()?;
    if !b"SsOERg_nwmJPF".contains(first) {
        return None;
    }
    NAMES.iter().copied().find(|wanted| wanted.as_bytes() == name)
}
