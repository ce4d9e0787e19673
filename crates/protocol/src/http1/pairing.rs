//! Whether the next response can be told to belong to the next request.
//!
//! HTTP/1 has no ids: the n-th response answers the n-th request. Once the number of requests or responses
//! within a hole is not known, counting proves nothing, and a wrong pair is worse than none. Until counting
//! is sure again, requests end without response and responses without request. It is sure again when
//!
//! * the known upper bound of unanswered requests falls to none, or
//! * the client has been seen to wait for each response before its next request, so that nothing can be
//!   outstanding; not on connections that have been seen to pipeline.

/// Rounds of request and response that must be seen after a hole.
pub(super) const ROUNDS_AFTER_GAP: u8 = 2;
/// Rounds after a bad message or an attach in the middle: nothing is missing there but what was in flight.
pub(super) const ROUNDS_AFTER_BAD: u8 = 1;

/// State of the count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pairing {
    unsure: Option<Unsure>,
    /// The client was seen to send a request before the answer to the one before it.
    pipelines: bool,
}

#[derive(Clone, Copy, Debug)]
struct Unsure {
    needed: u8,
    rounds: u8,
    /// Responses since the last request or, before the first one, since the loss.
    answers: u32,
    /// A request was seen since the loss.
    asked: bool,
    /// At most so many requests are unanswered, when known.
    outstanding: Option<u64>,
}

impl Pairing {
    /// Counting is sure.
    pub(super) const fn is_sure(&self) -> bool {
        self.unsure.is_none()
    }

    /// The client pipelines.
    pub(super) fn note_pipelining(&mut self) {
        self.pipelines = true;
    }

    /// The count is lost; at most `outstanding` of the requests so far are unanswered, if that is known.
    pub(super) fn lose(&mut self, needed: u8, outstanding: Option<u64>) {
        let (needed, outstanding) = match self.unsure {
            Some(before) => (needed.max(before.needed), None),
            None => (needed, outstanding),
        };
        self.unsure = Some(Unsure {
            needed,
            rounds: 0,
            answers: 0,
            asked: false,
            outstanding,
        });
    }

    /// A request begins; `idle`: nothing before it is known to be unanswered or under way. Returns whether
    /// the next response answers it for certain.
    pub(super) fn on_request(&mut self, idle: bool) -> bool {
        let Some(unsure) = &mut self.unsure else {
            return true;
        };
        let waited = idle && (unsure.answers == 1 || (unsure.answers > 1 && !unsure.asked));
        unsure.rounds = if waited { unsure.rounds + 1 } else { 0 };
        unsure.answers = 0;
        unsure.asked = true;
        if unsure.rounds >= unsure.needed && !self.pipelines {
            self.unsure = None;
            return true;
        }
        unsure.outstanding = unsure.outstanding.map(|count| count + 1);
        false
    }

    /// A final response without known request ended.
    pub(super) fn on_orphan_end(&mut self) {
        let Some(unsure) = &mut self.unsure else { return };
        unsure.answers = unsure.answers.saturating_add(1);
        unsure.outstanding = unsure.outstanding.map(|count| count.saturating_sub(1));
        if unsure.outstanding == Some(0) {
            self.unsure = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_waits_is_trusted_after_two_rounds() {
        let mut pairing = Pairing::default();
        assert!(pairing.on_request(true));
        pairing.lose(ROUNDS_AFTER_GAP, None);
        pairing.on_orphan_end();
        assert!(!pairing.on_request(true));
        pairing.on_orphan_end();
        assert!(pairing.on_request(true));
        assert!(pairing.is_sure());
    }

    #[test]
    fn requests_without_waiting_are_never_trusted() {
        let mut pairing = Pairing::default();
        pairing.lose(ROUNDS_AFTER_GAP, None);
        for _ in 0..10 {
            assert!(!pairing.on_request(true));
        }
        for _ in 0..10 {
            pairing.on_orphan_end();
            pairing.on_orphan_end();
            assert!(
                !pairing.on_request(true),
                "two answers between requests: it pipelines"
            );
        }
    }

    #[test]
    fn a_known_bound_of_unanswered_requests_runs_out() {
        let mut pairing = Pairing::default();
        pairing.note_pipelining();
        pairing.lose(ROUNDS_AFTER_GAP, Some(2));
        assert!(!pairing.on_request(false));
        pairing.on_orphan_end();
        pairing.on_orphan_end();
        assert!(!pairing.is_sure());
        pairing.on_orphan_end();
        assert!(pairing.is_sure());
    }
}
