//! Secrets as libraries derive them.

use zeroize::Zeroizing;

use crate::Time;

/// What a secret is for; the names of the NSS key log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// `CLIENT_EARLY_TRAFFIC_SECRET`
    ClientEarly,
    /// `CLIENT_HANDSHAKE_TRAFFIC_SECRET`
    ClientHandshake,
    /// `SERVER_HANDSHAKE_TRAFFIC_SECRET`
    ServerHandshake,
    /// `CLIENT_TRAFFIC_SECRET_0`
    ClientApplication,
    /// `SERVER_TRAFFIC_SECRET_0`
    ServerApplication,
    /// `CLIENT_RANDOM`: the 48-byte master secret of TLS 1.2 and older.
    Master,
    /// A traffic secret of TLS 1.3 whose hook could not tell which: what opens under it tells. No name of the key log.
    Unnamed,
}

impl Label {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ClientEarly,
        Self::ClientHandshake,
        Self::ServerHandshake,
        Self::ClientApplication,
        Self::ServerApplication,
        Self::Master,
        Self::Unnamed,
    ];

    /// Its name in the NSS key log format, or `UNNAMED_TRAFFIC_SECRET`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientEarly => "CLIENT_EARLY_TRAFFIC_SECRET",
            Self::ClientHandshake => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            Self::ServerHandshake => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            Self::ClientApplication => "CLIENT_TRAFFIC_SECRET_0",
            Self::ServerApplication => "SERVER_TRAFFIC_SECRET_0",
            Self::Master => "CLIENT_RANDOM",
            Self::Unnamed => "UNNAMED_TRAFFIC_SECRET",
        }
    }

    /// The label of that name; `None` for names of secrets that protect no record.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == name)
    }

    /// Whether a secret of this label may be the one that `wanted` asks for.
    pub(crate) fn may_be(self, wanted: Self) -> bool {
        self == wanted || (self == Self::Unnamed && wanted != Self::Master)
    }
}

/// One secret, wiped when dropped. Never formatted: `Debug` shows label and length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// What it is for.
    pub label: Label,
    /// 32 or 48 bytes (TLS 1.3: the hash length; TLS 1.2: 48).
    pub bytes: Zeroizing<Vec<u8>>,
    /// Client random of its handshake, where the hook could read it.
    pub client_random: Option<[u8; 32]>,
    /// When it was derived.
    pub time: Time,
    /// Which function of its process told it, by its address, where that may be the wrong one: what becomes of the secret then judges it.
    pub origin: Option<u64>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("label", &self.label)
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
