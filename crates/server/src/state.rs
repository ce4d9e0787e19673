//! What the server asks the agent.

use std::sync::Arc;

use crate::Samples;

/// Source of everything the server tells. Called on the server's thread: must not block.
pub trait State: Send + Sync + 'static {
    /// Whether probes are attached and a configuration is loaded.
    fn readiness(&self) -> Readiness;

    /// Whether the agent works at all; not ready yet is not unhealthy.
    fn health(&self) -> Readiness {
        Readiness::default()
    }

    /// Everything the rooms count, for `/system/metrics`.
    fn samples(&self, out: &mut Samples);

    /// How each process is read, as JSON, for `/status`. May block: it is called on a thread of its own.
    fn status(&self) -> Option<Arc<str>> {
        None
    }

    /// What was seen of the traffic, for `/metrics`.
    fn product_samples(&self, _out: &mut Samples) {}
}

/// Ready unless something is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    missing: Vec<String>,
}

impl Readiness {
    /// Adds `reason`, in words for a person, unless `met`.
    #[must_use]
    pub fn require(mut self, met: bool, reason: impl Into<String>) -> Self {
        if !met {
            self.missing.push(reason.into());
        }
        self
    }

    /// Nothing is missing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is missing.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// First line: `word` or `not word`; a line for each thing that is missing.
    pub(crate) fn to_text(&self, word: &str) -> String {
        if self.is_ready() {
            return format!("{word}\n");
        }
        let mut text = format!("not {word}\n");
        for reason in &self.missing {
            text.push_str(&reason.replace(['\r', '\n'], " "));
            text.push('\n');
        }
        text
    }
}
