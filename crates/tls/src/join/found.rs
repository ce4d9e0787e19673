//! Secrets that were found without the connections they belong to.

use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use super::gcm::Finder;
use crate::keys::{RecordKey, traffic_key};
use crate::suite::{Aead, Suite};

/// The suites of TLS 1.3 that can be opened.
const SUITES: [u16; 3] = [0x1301, 0x1302, 0x1303];
const TLS13: u16 = 0x0304;

/// What may be a traffic secret of TLS 1.3 in use, of a connection that is not known. Its keys are made when they are first needed, once for
/// all sessions that it is tried on.
pub struct FoundSecret {
    bytes: Zeroizing<Vec<u8>>,
    group: u32,
    trials: OnceLock<Vec<Trial>>,
}

/// The keys that a secret gives with one suite.
pub(super) struct Trial {
    pub(super) suite: Suite,
    pub(super) id: u16,
    pub(super) key: Arc<RecordKey>,
    /// Of AES-GCM.
    pub(super) finder: Option<Finder>,
}

impl std::fmt::Debug for FoundSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundSecret")
            .field("length", &self.bytes.len())
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl FoundSecret {
    /// A secret of 32 or 48 bytes; those of one connection have the same `group`, as far as that is known.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>, group: u32) -> Self {
        Self {
            bytes,
            group,
            trials: OnceLock::new(),
        }
    }

    pub(super) fn group(&self) -> u32 {
        self.group
    }

    pub(super) fn bytes(&self) -> &Zeroizing<Vec<u8>> {
        &self.bytes
    }

    /// Its keys with each suite that has secrets of this length.
    pub(super) fn trials(&self) -> &[Trial] {
        self.trials
            .get_or_init(|| SUITES.iter().filter_map(|&id| self.trial(id)).collect())
    }

    fn trial(&self, id: u16) -> Option<Trial> {
        let suite = Suite::find(TLS13, id).ok()?;
        let (key, iv) = traffic_key(suite, &self.bytes)?;
        let finder = match suite.aead {
            Aead::Aes128Gcm | Aead::Aes256Gcm => Some(Finder::new(key.get(..suite.key_length())?, &iv)?),
            Aead::ChaCha20Poly1305 => None,
        };
        Some(Trial {
            suite,
            id,
            key: Arc::new(RecordKey::tls13(suite, &self.bytes)?),
            finder,
        })
    }
}

/// Secrets that one search found.
#[derive(Debug)]
pub struct FoundSecrets {
    /// Which search: another one has another.
    pub id: u64,
    /// The secrets.
    pub secrets: Vec<FoundSecret>,
}
