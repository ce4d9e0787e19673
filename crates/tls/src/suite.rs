//! Cipher suites whose records can be opened here.

use crate::Unreadable;
use crate::record::HEADER_LENGTH;

/// TLS 1.2 or 1.3: the two record protections known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tls12,
    Tls13,
}

/// The ciphers that `ring` has; it has no CCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aead {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// Hash of the key derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
}

/// Everything that a cipher suite says about records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) protocol: Protocol,
    pub(crate) aead: Aead,
    pub(crate) hash: Hash,
}

impl Suite {
    /// The suite numbered `id` under the negotiated `version` (IANA registry; RFC 8446 B.4, 5288, 5289, 5487, 7905, 8442).
    pub(crate) fn find(version: u16, id: u16) -> Result<Self, Unreadable> {
        let suite = match version {
            0x0304 => Self::find_tls13(id),
            0x0303 => Self::find_tls12(id),
            _ => return Err(Unreadable::Version(version)),
        };
        suite.ok_or(Unreadable::CipherSuite(id))
    }

    fn find_tls13(id: u16) -> Option<Self> {
        let (aead, hash) = match id {
            0x1301 => (Aead::Aes128Gcm, Hash::Sha256),
            0x1302 => (Aead::Aes256Gcm, Hash::Sha384),
            0x1303 => (Aead::ChaCha20Poly1305, Hash::Sha256),
            _ => return None,
        };
        Some(Self {
            protocol: Protocol::Tls13,
            aead,
            hash,
        })
    }

    fn find_tls12(id: u16) -> Option<Self> {
        let (aead, hash) = match id {
            // RSA, DHE, DH, anonymous and PSK with AES-GCM: even numbers are AES-128, odd ones AES-256.
            0x009c..=0x00ad => gcm(id & 1 == 1),
            // ECDHE and ECDH, ECDSA and RSA: odd numbers are AES-128.
            0xc02b..=0xc032 => gcm(id & 1 == 0),
            0xd001 => gcm(false),
            0xd002 => gcm(true),
            0xcca8..=0xccae => (Aead::ChaCha20Poly1305, Hash::Sha256),
            _ => return None,
        };
        Some(Self {
            protocol: Protocol::Tls12,
            aead,
            hash,
        })
    }

    /// Bytes of key.
    pub(crate) const fn key_length(self) -> usize {
        match self.aead {
            Aead::Aes128Gcm => 16,
            Aead::Aes256Gcm | Aead::ChaCha20Poly1305 => 32,
        }
    }

    /// Bytes of a secret of this suite: the hash length in TLS 1.3, 48 in TLS 1.2.
    pub(crate) const fn secret_length(self) -> usize {
        match (self.protocol, self.hash) {
            (Protocol::Tls13, Hash::Sha256) => 32,
            (Protocol::Tls13, Hash::Sha384) | (Protocol::Tls12, _) => 48,
        }
    }

    /// Bytes at the front of a record body that carry the explicit nonce.
    pub(crate) const fn explicit_nonce_length(self) -> usize {
        match (self.protocol, self.aead) {
            (Protocol::Tls12, Aead::Aes128Gcm | Aead::Aes256Gcm) => 8,
            _ => 0,
        }
    }

    /// Bytes by which a record body is longer than its plaintext, padding apart.
    pub(crate) const fn overhead(self) -> usize {
        let inner_type = match self.protocol {
            Protocol::Tls13 => 1,
            Protocol::Tls12 => 0,
        };
        self.explicit_nonce_length() + 16 + inner_type
    }

    /// Longest record body (RFC 8446 §5.2; for TLS 1.2 the plaintext limit and what AEAD adds).
    pub(crate) const fn max_body(self) -> usize {
        match self.protocol {
            Protocol::Tls13 => (16 << 10) + 256,
            Protocol::Tls12 => (16 << 10) + self.overhead(),
        }
    }

    /// Shortest wire length of a record that may carry something.
    pub(crate) const fn min_wire(self) -> usize {
        HEADER_LENGTH + self.overhead()
    }
}

const fn gcm(long_key: bool) -> (Aead, Hash) {
    if long_key {
        (Aead::Aes256Gcm, Hash::Sha384)
    } else {
        (Aead::Aes128Gcm, Hash::Sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_map_to_cipher_and_hash() {
        let cases = [
            (0x0304, 0x1301, Aead::Aes128Gcm, Hash::Sha256, 17),
            (0x0304, 0x1302, Aead::Aes256Gcm, Hash::Sha384, 17),
            (0x0304, 0x1303, Aead::ChaCha20Poly1305, Hash::Sha256, 17),
            (0x0303, 0x009c, Aead::Aes128Gcm, Hash::Sha256, 24), // RSA
            (0x0303, 0x009f, Aead::Aes256Gcm, Hash::Sha384, 24), // DHE-RSA
            (0x0303, 0x00a8, Aead::Aes128Gcm, Hash::Sha256, 24), // PSK
            (0x0303, 0xc02b, Aead::Aes128Gcm, Hash::Sha256, 24), // ECDHE-ECDSA
            (0x0303, 0xc030, Aead::Aes256Gcm, Hash::Sha384, 24), // ECDHE-RSA
            (0x0303, 0xcca8, Aead::ChaCha20Poly1305, Hash::Sha256, 16),
            (0x0303, 0xd002, Aead::Aes256Gcm, Hash::Sha384, 24), // ECDHE-PSK
        ];
        for (version, id, aead, hash, overhead) in cases {
            let suite = Suite::find(version, id).unwrap();
            assert_eq!(
                (suite.aead, suite.hash, suite.overhead()),
                (aead, hash, overhead),
                "{id:#x}"
            );
        }
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        assert_eq!(Suite::find(0x0303, 0xc013), Err(Unreadable::CipherSuite(0xc013))); // CBC
        assert_eq!(Suite::find(0x0303, 0xc09c), Err(Unreadable::CipherSuite(0xc09c))); // CCM
        assert_eq!(Suite::find(0x0304, 0x1304), Err(Unreadable::CipherSuite(0x1304))); // CCM
        assert_eq!(Suite::find(0x0303, 0x1301), Err(Unreadable::CipherSuite(0x1301)));
        assert_eq!(Suite::find(0x0302, 0xc02f), Err(Unreadable::Version(0x0302)));
    }
}
