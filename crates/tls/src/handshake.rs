//! What both sides agreed on, as far as seen.

use crate::Unreadable;
use crate::hello::{ClientHello, ParsedServerHello};
use crate::keys::Params;
use crate::suite::{Protocol, Suite};

/// Whether the server takes early data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EarlyData {
    /// No ClientHello said that it comes.
    NotOffered,
    /// Offered; the server's answer was not read yet.
    Offered,
    /// EncryptedExtensions said yes.
    Accepted,
    /// A HelloRetryRequest, a handshake without PSK or EncryptedExtensions said no.
    Rejected,
}

/// State of the handshake, of both sides.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) early_data: EarlyData,
    suite: Option<Suite>,
    client_random: Option<[u8; 32]>,
    server_random: Option<[u8; 32]>,
    /// ClientHellos less ServerHellos: keys of TLS 1.2 are made from a pair, and either may be seen first.
    unpaired: i32,
}

impl Handshake {
    pub(crate) fn new() -> Self {
        Self {
            early_data: EarlyData::NotOffered,
            suite: None,
            client_random: None,
            server_random: None,
            unpaired: 0,
        }
    }

    pub(crate) fn client_hello(&mut self, hello: &ClientHello) {
        self.client_random = Some(hello.random);
        self.unpaired = self.unpaired.saturating_add(1);
        if hello.early_data && self.early_data == EarlyData::NotOffered {
            self.early_data = EarlyData::Offered;
        }
    }

    /// Takes in a ServerHello; an error says that its records cannot be opened here.
    pub(crate) fn server_hello(&mut self, parsed: &ParsedServerHello) -> Result<(), Unreadable> {
        let hello = &parsed.hello;
        self.suite = Some(Suite::find(hello.version, hello.cipher_suite)?);
        if self.early_data == EarlyData::Offered && (hello.retry || !parsed.pre_shared_key) {
            self.early_data = EarlyData::Rejected;
        }
        if !hello.retry {
            self.server_random = Some(hello.random);
            self.unpaired = self.unpaired.saturating_sub(1);
        }
        Ok(())
    }

    /// Takes in what EncryptedExtensions says of early data.
    pub(crate) fn early_answer(&mut self, accepted: bool) {
        if self.early_data == EarlyData::Offered {
            self.early_data = if accepted {
                EarlyData::Accepted
            } else {
                EarlyData::Rejected
            };
        }
    }

    /// A record told the suite.
    pub(crate) fn joined(&mut self, suite: Suite) {
        self.suite = Some(suite);
    }

    /// The suite, once the server chose it.
    pub(crate) fn suite(&self) -> Option<Suite> {
        self.suite
    }

    /// The record protection, once the server chose it.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.suite.map(|suite| suite.protocol)
    }

    pub(crate) fn client_random(&self) -> Option<&[u8; 32]> {
        self.client_random.as_ref()
    }

    /// What TLS 1.2 keys are made of; `None` while the hellos are not both there.
    pub(crate) fn params(&self) -> Option<Params> {
        if self.unpaired != 0 {
            return None;
        }
        Some(Params {
            suite: self.suite?,
            client_random: self.client_random?,
            server_random: self.server_random?,
        })
    }
}
