//! From secrets to record keys, and from records to plaintext (RFC 8446 §5.2, §7.3; RFC 5246 §5, §6.3; RFC 5288; RFC 7905).

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::record::Header;
use crate::suite::{Aead, Hash, Protocol, Suite};

/// Memory that a thread opens records into at a time. As long as some of what was inside is kept, all of it is.
const ARENA_BYTES: usize = 32 << 10;

thread_local! {
    static ARENA: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// What the key block of TLS 1.2 is made from, besides the master secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) suite: Suite,
    pub(crate) client_random: [u8; 32],
    pub(crate) server_random: [u8; 32],
}

/// Opens the records of one direction and epoch. `ring` keeps the expanded key; it goes when this is dropped.
pub(crate) struct RecordKey {
    key: LessSafeKey,
    iv: Zeroizing<[u8; 12]>,
    suite: Suite,
}

impl RecordKey {
    /// Key of a TLS 1.3 traffic secret; `None` if the secret is not of the suite's length.
    pub(crate) fn tls13(suite: Suite, secret: &[u8]) -> Option<Self> {
        let (key, iv) = traffic_key(suite, secret)?;
        let key = key.get(..suite.key_length())?;
        Self::new(suite, key, iv)
    }

    /// Keys of client and server of a TLS 1.2 master secret.
    pub(crate) fn tls12(params: &Params, master: &[u8]) -> Option<[Self; 2]> {
        let suite = params.suite;
        if master.len() != suite.secret_length() {
            return None;
        }
        let iv_length = 12 - suite.explicit_nonce_length();
        let mut block = Zeroizing::new([0_u8; 2 * (32 + 12)]);
        let block = block.get_mut(..2 * (suite.key_length() + iv_length))?;
        let seed = [params.server_random, params.client_random].concat();
        prf(suite.hash, master, b"key expansion", &seed, block);
        let (keys, ivs) = block.split_at_checked(2 * suite.key_length())?;
        let (client_key, server_key) = keys.split_at_checked(suite.key_length())?;
        let (client_iv, server_iv) = ivs.split_at_checked(iv_length)?;
        Some([
            Self::new(suite, client_key, fixed_iv(client_iv)?)?,
            Self::new(suite, server_key, fixed_iv(server_iv)?)?,
        ])
    }

    fn new(suite: Suite, key: &[u8], iv: Zeroizing<[u8; 12]>) -> Option<Self> {
        let algorithm: &'static Algorithm = match suite.aead {
            Aead::Aes128Gcm => &AES_128_GCM,
            Aead::Aes256Gcm => &AES_256_GCM,
            Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Self { key, iv, suite })
    }

    /// Opens `body` as record number `sequence`: content type, and what was inside. One copy of the record, into memory that the
    /// records opened by this thread share.
    pub(crate) fn open(&self, header: Header, body: &[u8], sequence: u64) -> Option<(u8, Bytes)> {
        ARENA.with_borrow_mut(|arena| {
            arena.clear();
            if arena.capacity() == 0 {
                arena.reserve(ARENA_BYTES);
            }
            let content = match self.suite.protocol {
                Protocol::Tls13 => self.open_tls13(header, body, sequence, arena),
                Protocol::Tls12 => self.open_tls12(header, body, sequence, arena),
            }?;
            Some((content, arena.split().freeze()))
        })
    }

    fn open_tls13(&self, header: Header, body: &[u8], sequence: u64, plaintext: &mut BytesMut) -> Option<u8> {
        if body.len() < self.suite.overhead() {
            return None;
        }
        let nonce = Nonce::assume_unique_for_key(self.xor_nonce(sequence));
        plaintext.extend_from_slice(body);
        let length = self
            .key
            .open_in_place(nonce, Aad::from(header.encode()), plaintext)
            .ok()?
            .len();
        plaintext.truncate(length);
        let last = plaintext.iter().rposition(|&byte| byte != 0)?;
        let content = plaintext.get(last).copied();
        plaintext.truncate(last);
        content
    }

    fn open_tls12(&self, header: Header, body: &[u8], sequence: u64, plaintext: &mut BytesMut) -> Option<u8> {
        let length = body.len().checked_sub(self.suite.overhead())?;
        let (explicit, sealed) = body.split_at_checked(self.suite.explicit_nonce_length())?;
        let nonce = if explicit.is_empty() {
            self.xor_nonce(sequence)
        } else {
            let mut nonce = *self.iv;
            nonce.get_mut(4..)?.copy_from_slice(explicit);
            nonce
        };
        let mut aad = [0_u8; 13];
        aad.get_mut(..8)?.copy_from_slice(&sequence.to_be_bytes());
        let length = u16::try_from(length).ok()?;
        aad.get_mut(8..)?
            .copy_from_slice(&Header { length, ..header }.encode());
        plaintext.extend_from_slice(sealed);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self
            .key
            .open_in_place(nonce, Aad::from(aad), plaintext)
            .ok()?
            .len();
        plaintext.truncate(length);
        Some(header.content)
    }

    fn xor_nonce(&self, sequence: u64) -> [u8; 12] {
        let mut nonce = *self.iv;
        for (byte, number) in nonce.iter_mut().skip(4).zip(sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

/// A key, of which the suite's length is used, and an iv.
type KeyAndIv = (Zeroizing<[u8; 32]>, Zeroizing<[u8; 12]>);

/// Those of a TLS 1.3 traffic secret; `None` if the secret is not of the suite's length.
pub(crate) fn traffic_key(suite: Suite, secret: &[u8]) -> Option<KeyAndIv> {
    if secret.len() != suite.secret_length() {
        return None;
    }
    let mut key = Zeroizing::new([0_u8; 32]);
    let mut iv = Zeroizing::new([0_u8; 12]);
    expand_label(suite.hash, secret, b"key", key.get_mut(..suite.key_length())?)?;
    expand_label(suite.hash, secret, b"iv", iv.as_mut_slice())?;
    Some((key, iv))
}

/// The secret that follows `secret` after a KeyUpdate (RFC 8446 §7.2).
pub(crate) fn next_generation(suite: Suite, secret: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut next = Zeroizing::new(vec![0_u8; suite.secret_length()]);
    expand_label(suite.hash, secret, b"traffic upd", &mut next)?;
    Some(next)
}

fn fixed_iv(iv: &[u8]) -> Option<Zeroizing<[u8; 12]>> {
    let mut whole = Zeroizing::new([0_u8; 12]);
    whole.get_mut(..iv.len())?.copy_from_slice(iv);
    Some(whole)
}

/// The length of an output, in the form that `ring` asks for.
struct OutputLength(usize);

impl hkdf::KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 §7.1).
fn expand_label(hash: Hash, secret: &[u8], label: &[u8], output: &mut [u8]) -> Option<()> {
    let algorithm = match hash {
        Hash::Sha256 => hkdf::HKDF_SHA256,
        Hash::Sha384 => hkdf::HKDF_SHA384,
    };
    expand_secret(&hkdf::Prk::new_less_safe(algorithm, secret), label, output)
}

/// The same, of a secret that is ready for it.
pub(crate) fn expand_secret(secret: &hkdf::Prk, label: &[u8], output: &mut [u8]) -> Option<()> {
    let length = u16::try_from(output.len()).ok()?.to_be_bytes();
    let label_length = [u8::try_from(6 + label.len()).ok()?];
    let info: [&[u8]; 5] = [&length, &label_length, b"tls13 ", label, &[0]];
    secret
        .expand(&info, OutputLength(output.len()))
        .ok()?
        .fill(output)
        .ok()
}

/// The pseudo-random function of TLS 1.2 (RFC 5246 §5).
fn prf(hash: Hash, secret: &[u8], label: &[u8], seed: &[u8], output: &mut [u8]) {
    let algorithm = match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
    };
    let key = hmac::Key::new(algorithm, secret);
    let sign = |parts: &[&[u8]]| {
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        context.sign()
    };
    let mut chain = sign(&[label, seed]);
    for chunk in output.chunks_mut(chain.as_ref().len()) {
        let block = sign(&[chain.as_ref(), label, seed]);
        for (to, from) in chunk.iter_mut().zip(block.as_ref()) {
            *to = *from;
        }
        chain = sign(&[chain.as_ref()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// RFC 8448 §3: server handshake traffic secret and its write key and iv.
    #[test]
    fn expand_label_gives_the_keys_of_rfc_8448() {
        let secret = bytes("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
        let mut key = [0; 16];
        let mut iv = [0; 12];
        expand_label(Hash::Sha256, &secret, b"key", &mut key).unwrap();
        expand_label(Hash::Sha256, &secret, b"iv", &mut iv).unwrap();
        assert_eq!(key.to_vec(), bytes("3fce516009c21727d0f2e4e86ee403bc"));
        assert_eq!(iv.to_vec(), bytes("5d313eb2671276ee13000b30"));
    }

    /// The TLS 1.2 PRF test vector for SHA-256 that the IETF TLS list published.
    #[test]
    fn prf_gives_the_published_vector() {
        let mut output = [0; 100];
        prf(
            Hash::Sha256,
            &bytes("9bbe436ba940f017b17652849a71db35"),
            b"test label",
            &bytes("a0ba9f936cda311827a6f796ffd5198c"),
            &mut output,
        );
        let expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af\
                        0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701\
                        87347b66";
        assert_eq!(output.to_vec(), bytes(&expected.replace(char::is_whitespace, "")));
    }
}
