//! What every event says of the agent itself, and the key of token hashes.

use ring::hmac;
use ring::rand::SystemRandom;

/// The agent could not be described.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes from the kernel for the key of token hashes; is getrandom(2) allowed?")]
pub struct NoRandomness;

/// One run of the agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Name of the host.
    pub hostname: String,
    /// Unique for this run.
    pub instance: String,
    /// Deployment tags (`--tags`), added to every event.
    pub tags: Vec<(String, String)>,
    token_key: hmac::Key,
}

impl Agent {
    /// Makes a new key for token hashes: equal tokens have equal hashes within one run, and nobody can look a hash up
    /// in a table of guessed tokens.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn new(
        hostname: String,
        instance: String,
        tags: Vec<(String, String)>,
    ) -> Result<Self, NoRandomness> {
        let token_key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_unspecified| NoRandomness)?;
        Ok(Self {
            hostname,
            instance,
            tags,
            token_key,
        })
    }

    /// HMAC-SHA-256 in hex.
    #[must_use]
    pub fn token_hash(&self, token: &[u8]) -> String {
        hex::encode(hmac::sign(&self.token_key, token))
    }
}
