//! Secrets that may be this connection's own.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::keys::{Params, RecordKey};
use crate::suite::Suite;
use crate::{Label, OwnSecret, Secret};

/// A secret and the keys made from it, derived once.
pub(crate) struct Candidate {
    pub(crate) secret: Secret,
    /// A record authenticated under it, or it carries this connection's client random.
    pub(crate) own: bool,
    /// What an unnamed one proved to be.
    proven: Option<Label>,
    /// It was told as own.
    told: bool,
    tls13: Option<(Suite, Option<Arc<RecordKey>>)>,
    tls12: Option<(Params, Option<[Arc<RecordKey>; 2]>)>,
}

impl Candidate {
    /// Its TLS 1.3 record key; `None` if it does not fit `suite`.
    pub(crate) fn ensure_tls13(&mut self, suite: Suite) -> Option<Arc<RecordKey>> {
        match &self.tls13 {
            Some((of, key)) if *of == suite => key.clone(),
            _ => {
                let key = RecordKey::tls13(suite, &self.secret.bytes).map(Arc::new);
                self.tls13 = Some((suite, key.clone()));
                key
            }
        }
    }

    /// Its TLS 1.2 record keys of client and server; `None` if it does not fit.
    pub(crate) fn ensure_tls12(&mut self, params: &Params) -> Option<[Arc<RecordKey>; 2]> {
        match &self.tls12 {
            Some((of, keys)) if of == params => keys.clone(),
            _ => {
                let keys = RecordKey::tls12(params, &self.secret.bytes).map(|keys| keys.map(Arc::new));
                self.tls12 = Some((*params, keys.clone()));
                keys
            }
        }
    }
}

/// A bounded list, oldest out first, own ones last.
pub(crate) struct Candidates {
    list: VecDeque<Candidate>,
    limit: usize,
}

impl Candidates {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            list: VecDeque::new(),
            limit,
        }
    }

    /// Adds a secret and returns whether it is new.
    pub(crate) fn add(&mut self, secret: &Secret, own: bool) -> bool {
        let known = |candidate: &&mut Candidate| {
            candidate.secret.label == secret.label && candidate.secret.bytes == secret.bytes
        };
        if let Some(candidate) = self.list.iter_mut().find(known) {
            candidate.own |= own;
            return false;
        }
        if self.list.len() >= self.limit.max(1) {
            let oldest = self.list.iter().position(|candidate| !candidate.own).unwrap_or(0);
            self.list.remove(oldest);
        }
        self.list.push_back(Candidate {
            secret: secret.clone(),
            own,
            proven: None,
            told: false,
            tls13: None,
            tls12: None,
        });
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether `secret` is known to be this connection's own.
    pub(crate) fn is_own(&self, secret: &Secret) -> bool {
        self.list.iter().any(|candidate| {
            candidate.own && candidate.secret.label == secret.label && candidate.secret.bytes == secret.bytes
        })
    }

    /// The candidates for `label`, unnamed ones among them, own ones first, with a mutable hand on each for its cached keys.
    pub(crate) fn of(&mut self, label: Label) -> impl Iterator<Item = &mut Candidate> {
        let mut found: Vec<&mut Candidate> = self
            .list
            .iter_mut()
            .filter(|candidate| candidate.secret.label.may_be(label))
            .collect();
        found.sort_by_key(|candidate| !candidate.own);
        found.into_iter()
    }

    /// Marks those as own that carry `client_random`.
    pub(crate) fn settle(&mut self, client_random: &[u8; 32]) {
        for candidate in &mut self.list {
            candidate.own |= candidate.secret.client_random.as_ref() == Some(client_random);
        }
    }

    /// Drops those that carry another client random: TLS 1.3 knows no renegotiation under a new one.
    pub(crate) fn drop_strangers(&mut self) {
        self.list
            .retain(|candidate| candidate.own || candidate.secret.client_random.is_none());
    }

    /// What opened under the unnamed secret `bytes` proved that it is the one called `label`.
    pub(crate) fn name(&mut self, bytes: &[u8], label: Label) {
        let unnamed = self.list.iter_mut().find(|candidate| {
            candidate.secret.label == Label::Unnamed && candidate.secret.bytes.as_slice() == bytes
        });
        if let Some(candidate) = unnamed {
            candidate.own = true;
            candidate.proven = Some(label);
        }
    }

    /// Own ones that were not told so far, each with the client random of its handshake. That is `random`, the session's: one that
    /// opened a record may come from the handshake that a session of TLS 1.2 was resumed from, whose random is another. Unnamed ones are
    /// told under the name that they proved to have, and not before.
    pub(crate) fn take_own(&mut self, random: Option<&[u8; 32]>) -> Vec<OwnSecret> {
        let fresh = (self.list.iter_mut()).filter(|candidate| candidate.own && !candidate.told);
        let owned = fresh.filter_map(|candidate| {
            let label = candidate.proven.unwrap_or(candidate.secret.label);
            if label == Label::Unnamed {
                return None;
            }
            let client_random = random.copied().or(candidate.secret.client_random)?;
            candidate.told = true;
            Some(OwnSecret {
                secret: Secret {
                    label,
                    ..candidate.secret.clone()
                },
                client_random,
            })
        });
        owned.collect()
    }

    /// Wipes everything.
    pub(crate) fn clear(&mut self) {
        self.list = VecDeque::new();
    }
}
