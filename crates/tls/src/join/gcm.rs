//! The number of a record of AES-GCM, from the record and its key alone.
//!
//! The tag of a record is GHASH of header and ciphertext, XORed with the encryption of the nonce and a counter of 1 (NIST SP 800-38D §7.1). GHASH
//! depends on the key only. So decrypting what is left of the tag gives the nonce, and that gives the number (RFC 8446 §5.3). That the counter
//! and the bytes of the nonce that the number does not reach are what they should be proves key, bounds and number at once: by chance they
//! are in one of 2⁸⁰ cases.

use aes::cipher::{BlockCipherDecrypt, KeyInit};
use aes::{Aes128Dec, Aes256Dec, Block};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use zeroize::Zeroizing;

use crate::record::Header;

/// Bytes of a tag, and of a block of AES.
const BLOCK: usize = 16;
/// No connection has more records under one key: RFC 8446 §5.5 allows 2²⁴·⁵ of full size.
const MOST_RECORDS: u64 = 1 << 48;

/// A key of AES, for decryption of single blocks.
enum Cipher {
    Aes128(Box<Aes128Dec>),
    Aes256(Box<Aes256Dec>),
}

impl Cipher {
    fn decrypt(&self, block: &mut Block) {
        match self {
            Self::Aes128(cipher) => cipher.decrypt_block(block),
            Self::Aes256(cipher) => cipher.decrypt_block(block),
        }
    }

    fn encrypt_zeros(key: &[u8]) -> Option<Zeroizing<[u8; BLOCK]>> {
        use aes::cipher::BlockCipherEncrypt;
        let mut block = Block::default();
        match key.len() {
            16 => aes::Aes128Enc::new_from_slice(key)
                .ok()?
                .encrypt_block(&mut block),
            32 => aes::Aes256Enc::new_from_slice(key)
                .ok()?
                .encrypt_block(&mut block),
            _ => return None,
        }
        Some(Zeroizing::new(block.into()))
    }
}

/// Finds numbers of records under one key. Everything in it is wiped when it is dropped.
pub(super) struct Finder {
    cipher: Cipher,
    ghash: GHash,
    iv: Zeroizing<[u8; 12]>,
}

impl Finder {
    /// Of a key of AES-128-GCM or AES-256-GCM; `None` for others.
    pub(super) fn new(key: &[u8], iv: &Zeroizing<[u8; 12]>) -> Option<Self> {
        let hash_key = Cipher::encrypt_zeros(key)?;
        let cipher = match key.len() {
            16 => Cipher::Aes128(Box::new(Aes128Dec::new_from_slice(key).ok()?)),
            _ => Cipher::Aes256(Box::new(Aes256Dec::new_from_slice(key).ok()?)),
        };
        Some(Self {
            cipher,
            ghash: GHash::new_from_slice(hash_key.as_slice()).ok()?,
            iv: iv.clone(),
        })
    }

    /// The number of the record under this key; `None` if it is not of this key. Cost: one GHASH of the record.
    pub(super) fn sequence(&self, header: Header, body: &[u8]) -> Option<u64> {
        let (ciphertext, tag) = body.split_at_checked(body.len().checked_sub(BLOCK)?)?;
        let data = header.encode();
        let mut ghash = self.ghash.clone();
        ghash.update_padded(&data);
        ghash.update_padded(ciphertext);
        let bits = |bytes: &[u8]| (bytes.len() as u64 * 8).to_be_bytes();
        let mut lengths = Block::default();
        let (of_data, of_text) = lengths.split_at_mut(BLOCK / 2);
        of_data.copy_from_slice(&bits(&data));
        of_text.copy_from_slice(&bits(ciphertext));
        ghash.update(&[lengths]);
        let mut block: Block = ghash.finalize();
        for (byte, of_tag) in block.iter_mut().zip(tag) {
            *byte ^= of_tag;
        }
        self.cipher.decrypt(&mut block);
        let (nonce, counter) = block.split_at(12);
        if counter != [0, 0, 0, 1] {
            return None;
        }
        let mut number = [0_u8; 12];
        for ((to, from), iv) in number.iter_mut().zip(nonce).zip(self.iv.iter()) {
            *to = from ^ iv;
        }
        let (fixed, sequence) = number.split_first_chunk::<4>()?;
        let sequence = u64::from_be_bytes(*sequence.first_chunk()?);
        (*fixed == [0; 4] && sequence < MOST_RECORDS).then_some(sequence)
    }
}
