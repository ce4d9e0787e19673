//! Gives up on connections whose bytes are mostly not of the protocol that they were taken for (P-D4, P-L5).

use crate::ParseError;

/// Messages that are looked back on.
const WINDOW: u32 = 20;
/// Bad messages without a single good one that prove another protocol.
const HOPELESS: u32 = 4;

/// The last messages, good or bad.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    protocol: &'static str,
    /// One bit a message, the latest lowest, 1 for bad.
    bad: u32,
    seen: u32,
    any_good: bool,
}

impl Quality {
    pub(crate) const fn new(protocol: &'static str) -> Self {
        Self {
            protocol,
            bad: 0,
            seen: 0,
            any_good: false,
        }
    }

    pub(crate) fn good(&mut self) {
        self.any_good = true;
        self.note(0);
    }

    /// # Errors
    /// When too much of what was seen is bad.
    pub(crate) fn bad(&mut self) -> Result<(), ParseError> {
        self.note(1);
        let count = self.bad.count_ones();
        let protocol = self.protocol;
        if !self.any_good && count >= HOPELESS {
            return Err(ParseError::NotThisProtocol {
                protocol,
                reason: "no message could be read",
            });
        }
        if self.seen >= WINDOW && count * 2 > WINDOW {
            return Err(ParseError::Fatal {
                protocol,
                reason: "most messages could not be read",
            });
        }
        Ok(())
    }

    const fn note(&mut self, bit: u32) {
        self.bad = (self.bad << 1 | bit) & ((1 << WINDOW) - 1);
        self.seen = self.seen.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-D4, P-L5.
    #[test]
    fn gives_up_when_nothing_or_too_little_is_good() {
        let mut none = Quality::new("test");
        assert!((0..3).all(|_| none.bad().is_ok()));
        assert!(matches!(none.bad(), Err(ParseError::NotThisProtocol { .. })));
        let mut half = Quality::new("test");
        for _ in 0..100 {
            half.good();
            assert!(half.bad().is_ok());
        }
        assert!(matches!(half.bad(), Err(ParseError::Fatal { .. })));
    }
}
