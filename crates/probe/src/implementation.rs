//! TLS implementations by name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose TLS code a file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Implementation {
    /// OpenSSL 1.1.1 or 3 and later; older ones have calls only.
    OpenSsl,
    /// BoringSSL, nearly always linked statically.
    BoringSsl,
    /// LibreSSL: no key log, hence calls only.
    LibreSsl,
    /// GnuTLS.
    GnuTls,
    /// Mozilla NSS.
    Nss,
    /// wolfSSL.
    WolfSsl,
    /// Mbed TLS.
    MbedTls,
    /// s2n-tls.
    S2n,
    /// Go's crypto/tls.
    GoTls,
    /// rustls.
    Rustls,
    /// Java's JSSE: byte code in a JVM.
    JavaSsl,
    /// Key-log texts are there, but nothing says whose.
    Unknown,
}

impl Implementation {
    /// The name in logs and events (`tlsProbeTypesDetected`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::BoringSsl => "boringssl",
            Self::LibreSsl => "libressl",
            Self::GnuTls => "gnutls",
            Self::Nss => "nss",
            Self::WolfSsl => "wolfssl",
            Self::MbedTls => "mbedtls",
            Self::S2n => "s2n",
            Self::GoTls => "gotls",
            Self::Rustls => "rustls",
            Self::JavaSsl => "javassl",
            Self::Unknown => "unknown",
        }
    }

    /// The library that does the key derivation for this one when it is a file of its own.
    #[must_use]
    pub const fn crypto(self) -> Option<Crypto> {
        match self {
            Self::OpenSsl => Some(Crypto::OpenSsl),
            Self::GnuTls => Some(Crypto::Nettle),
            Self::MbedTls => Some(Crypto::MbedTls),
            Self::Nss => Some(Crypto::Nss),
            _ => None,
        }
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A cryptographic library that TLS libraries derive their keys with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Crypto {
    /// libcrypto of OpenSSL.
    OpenSsl,
    /// libnettle.
    Nettle,
    /// libmbedcrypto.
    MbedTls,
    /// libnss3 and libfreeblpriv3 together.
    Nss,
}
