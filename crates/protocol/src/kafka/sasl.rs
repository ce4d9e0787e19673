//! Tokens of SASL that stand bare in their frames: after version 0 of `SaslHandshake`, until the mechanism is through (P-K6).

/// An exchange of such tokens.
#[derive(Debug)]
pub(super) struct Exchange {
    mechanism: String,
    /// Tokens that the client is still to send; `None` when the mechanism does not say.
    left: Option<u32>,
    is_begun: bool,
}

impl Exchange {
    pub(super) fn new(mechanism: String) -> Self {
        let left = match mechanism.as_str() {
            "PLAIN" | "OAUTHBEARER" | "AWS_MSK_IAM" => Some(1),
            scram if scram.starts_with("SCRAM-") => Some(2),
            _ => None,
        };
        Self {
            mechanism,
            left,
            is_begun: false,
        }
    }

    pub(super) fn mechanism(&self) -> Option<String> {
        Some(self.mechanism.clone())
    }

    /// Whether the next frame of the client is a token, whatever it looks like.
    pub(super) fn is_certain(&self) -> bool {
        self.left.map_or(!self.is_begun, |left| left > 0)
    }

    /// Whether it may be one.
    pub(super) fn is_possible(&self) -> bool {
        self.left.is_none_or(|left| left > 0)
    }

    /// A token was sent.
    pub(super) fn sent(&mut self) {
        self.is_begun = true;
        self.left = self.left.map(|left| left.saturating_sub(1));
    }
}
