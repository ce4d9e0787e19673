//! Where user code can be probed.

use serde::{Deserialize, Serialize};

/// Programs of `bpf/secrets.bpf.h` and `bpf/calls.bpf.h`, by what the probed function is. The kernel side decodes arguments by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hook {
    /// `ssl_log_secret(ssl, label, secret, length)` of the OpenSSL family, BoringSSL included; entry only.
    LogSecret,
    /// OpenSSL 3 `EVP_KDF_derive`; entry and return.
    EvpKdfDerive,
    /// OpenSSL 1.1.1 `EVP_PKEY_derive`; entry and return.
    EvpPkeyDerive,
    /// nettle `nettle_hkdf_expand`; entry and return.
    NettleHkdfExpand,
    /// GnuTLS `_gnutls_prf_raw`; entry only.
    GnutlsPrfRaw,
    /// rustls `KeySchedule::derive_logged_secret`; entry and return.
    RustlsDerive,
    /// rustls `ConnectionSecrets::make_key_block`; entry only.
    RustlsKeyBlock,
    /// wolfSSL `wc_Tls13_HKDF_Expand_Label`; entry and return.
    WolfsslExpandLabel,
    /// wolfSSL `wc_PRF_TLS`; entry only.
    WolfsslPrf,
    /// Mbed TLS 3 `mbedtls_ssl_tls13_derive_secret`; entry and return.
    MbedtlsDerive,
    /// s2n-tls `s2n_derive_secret_with_context`; entry and return.
    S2nDerive,
    /// s2n-tls `s2n_prf`; entry only.
    S2nPrf,
    /// Mbed TLS `mbedtls_md_hmac_starts`; entry only.
    MbedtlsHmacStarts,
    /// Mbed TLS `mbedtls_md_hmac_update`; entry only.
    MbedtlsHmacUpdate,
    /// NSS `PK11_DeriveWithFlags`; entry only.
    NssDerive,
    /// `HMAC_Finish` of NSS's freebl; entry and return.
    NssHmacFinish,
    /// `TLS_P_hash` of NSS's freebl; entry only.
    NssTlsPrf,
    /// Go's `crypto/tls.(*Config).writeKeyLog`, since 1.17; entry only, as are all of Go: its stacks move.
    GoKeyLog,
    /// Go's `crypto/tls.keysFromMasterSecret`, since 1.17; entry only.
    GoMasterKeys,
    /// `SSL_read`; entry and return.
    SslRead,
    /// `SSL_read_ex`; entry and return.
    SslReadEx,
    /// `SSL_write`; entry and return.
    SslWrite,
    /// `SSL_write_ex`; entry and return.
    SslWriteEx,
    /// `SSL_free`; entry.
    SslFree,
    /// `wolfSSL_read`; entry and return.
    WolfsslRead,
    /// `wolfSSL_write`; entry and return.
    WolfsslWrite,
    /// `wolfSSL_free`; entry.
    WolfsslFree,
    /// `mbedtls_ssl_read`; entry and return.
    MbedtlsRead,
    /// `mbedtls_ssl_write`; entry and return.
    MbedtlsWrite,
    /// `mbedtls_ssl_free` and `mbedtls_ssl_session_reset`; entry.
    MbedtlsFree,
    /// `ssl_SecureRecv` of NSS; entry and return.
    NssRecv,
    /// `ssl_SecureSend` of NSS; entry and return.
    NssSend,
    /// `ssl_SecureClose` of NSS; entry.
    NssClose,
    /// `gnutls_record_recv`; entry and return.
    GnutlsRecv,
    /// `gnutls_record_send`; entry and return.
    GnutlsSend,
    /// `gnutls_deinit`; entry.
    GnutlsDeinit,
    /// An instruction at which Go's `crypto/tls.(*Conn).Read` returns. Of a function that keeps its arguments where its caller left
    /// room for them: a call whose entry was not seen is read too. Ends come before entries, as they are attached first.
    GoReadEnd,
    /// The same where that is not known of the function.
    GoReadEndPaired,
    /// An instruction at which Go's `crypto/tls.(*Conn).Write` returns.
    GoWriteEnd,
    /// Go's `crypto/tls.(*Conn).Read`; entry.
    GoRead,
    /// Go's `crypto/tls.(*Conn).Write`; entry.
    GoWrite,
    /// `s2n_recv`: the first arguments and the result are those of `gnutls_record_recv`; entry and return.
    S2nRecv,
    /// As `gnutls_record_send`; entry and return.
    S2nSend,
    /// `s2n_connection_free`; entry.
    S2nFree,
}

impl Hook {
    /// What is noted at it is kept by goroutine.
    pub(crate) fn is_of_goroutines(self) -> bool {
        matches!(self, Self::GoRead | Self::GoWrite)
    }

    /// It is a read or write call, not a derivation, and its connection is told by the socket that its thread touches in it.
    pub(crate) fn reads_calls(self) -> bool {
        matches!(
            self,
            Self::SslRead
                | Self::SslReadEx
                | Self::SslWrite
                | Self::SslWriteEx
                | Self::WolfsslRead
                | Self::WolfsslWrite
                | Self::MbedtlsRead
                | Self::MbedtlsWrite
                | Self::NssRecv
                | Self::NssSend
                | Self::GnutlsRecv
                | Self::GnutlsSend
                | Self::S2nRecv
                | Self::S2nSend
        )
    }
}
