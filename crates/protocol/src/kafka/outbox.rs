//! Commands that are over, and wait for the names of topics that they tell by id.
//!
//! A client learns an id from a reply of metadata before it can ask for it, so that this reply is always older. It came on another
//! connection though, whose worker may be behind. What waits is told as soon as the name is known; what ends behind it keeps its place.

use std::collections::VecDeque;
use std::sync::Arc;

use super::draft::Draft;
use super::report::Request;
use super::topics::{Id, Topics};
use crate::{CommandTraffic, Event, Outcome, StreamKey, Time};

/// How long a name is waited for, in the time of the worker.
const WAIT_NS: u64 = 500_000_000;
/// Time between two looks whether it is there.
const LOOK_NS: u64 = 20_000_000;
/// Commands of one connection that may wait. The oldest go on without their names.
const COMMANDS: usize = 256;
/// Bytes of them.
const BYTES: usize = 512 << 10;

/// A command that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) key: StreamKey,
    /// What was asked, if that was told without all names.
    pub(super) asked: Option<Box<Request>>,
    pub(super) told: Option<Draft>,
    pub(super) outcome: Outcome,
    pub(super) traffic: CommandTraffic,
    pub(super) time: Time,
}

impl Ended {
    fn ids(&self) -> impl Iterator<Item = Id> {
        let asked = self.asked.iter().flat_map(|request| request.ids());
        asked.chain(self.told.iter().flat_map(Draft::ids))
    }

    fn held(&self) -> usize {
        let asked = self.asked.as_ref().map_or(0, |request| request.held());
        size_of::<Waiting>() + asked + self.told.as_ref().map_or(0, Draft::held)
    }
}

/// One that waits.
#[derive(Debug)]
struct Waiting {
    ended: Ended,
    /// Ids whose names may still come; none if it only keeps its place.
    missing: Vec<Id>,
    /// Since when. The worker tells its time at the next look.
    since: Option<Time>,
    held: usize,
}

/// Those of one connection, in order.
#[derive(Debug)]
pub(super) struct Outbox {
    topics: Arc<Topics>,
    waiting: VecDeque<Waiting>,
    held: usize,
    /// When it was last looked at, while something waits.
    looked: Option<Time>,
}

impl Outbox {
    pub(super) const fn new(topics: Arc<Topics>) -> Self {
        Self {
            topics,
            waiting: VecDeque::new(),
            held: 0,
            looked: None,
        }
    }

    /// Tells of a command, in its turn.
    pub(super) fn put(&mut self, ended: Ended, out: &mut Vec<Event>) {
        let missing = self.missing(ended.ids());
        if self.waiting.is_empty() && missing.is_empty() {
            self.tell(ended, out);
            return;
        }
        let held = ended.held();
        self.held += held;
        self.waiting.push_back(Waiting {
            ended,
            missing,
            since: self.looked,
            held,
        });
        while self.waiting.len() > COMMANDS || self.held > BYTES {
            self.tell_oldest(out);
        }
        self.tell_ready(out);
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Option<Time> {
        if self.waiting.is_empty() {
            return None;
        }
        let next = |looked: Time| Time(looked.0.saturating_add(LOOK_NS));
        Some(self.looked.map_or(Time(0), next))
    }

    /// It is `now`: tells of those whose names are there, or have been waited for long enough.
    pub(super) fn look(&mut self, now: Time, out: &mut Vec<Event>) {
        if self.waiting.is_empty() {
            return;
        }
        self.looked = Some(now);
        for waiting in &mut self.waiting {
            waiting.since.get_or_insert(now);
        }
        self.tell_ready(out);
    }

    /// Tells of all as they are.
    pub(super) fn flush(&mut self, out: &mut Vec<Event>) {
        while !self.waiting.is_empty() {
            self.tell_oldest(out);
        }
        self.looked = None;
    }

    /// Bytes held, by and large.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    fn missing(&self, ids: impl Iterator<Item = Id>) -> Vec<Id> {
        let mut ids = ids.peekable();
        if ids.peek().is_none() {
            return Vec::new();
        }
        let names = self.topics.names();
        let mut missing = Vec::new();
        for id in ids {
            if !missing.contains(&id) && names.awaits(id) {
                missing.push(id);
            }
        }
        missing
    }

    fn tell_ready(&mut self, out: &mut Vec<Event>) {
        while let Some(first) = self.waiting.front_mut() {
            if !first.missing.is_empty() {
                let names = self.topics.names();
                first.missing.retain(|id| names.awaits(*id));
            }
            if !first.missing.is_empty() {
                let waited = self.looked.zip(first.since);
                if waited.is_none_or(|(now, since)| now.0.saturating_sub(since.0) < WAIT_NS) {
                    return;
                }
                self.topics.give_up(&first.missing);
            }
            self.tell_oldest(out);
        }
        self.looked = None;
    }

    fn tell_oldest(&mut self, out: &mut Vec<Event>) {
        if let Some(first) = self.waiting.pop_front() {
            self.held = self.held.saturating_sub(first.held);
            self.tell(first.ended, out);
        }
    }

    fn tell(&self, ended: Ended, out: &mut Vec<Event>) {
        let names = self.topics.names();
        let key = ended.key;
        if let Some(request) = ended.asked
            && request.ids().any(|id| names.name(id).is_some())
        {
            out.push(Event::CommandNamed {
                key,
                command: Box::new(request.command(&names)),
            });
        }
        out.push(Event::CommandEnd {
            key,
            result: ended.told.map(|told| Box::new(told.finish(&names))),
            outcome: ended.outcome,
            traffic: ended.traffic,
            time: ended.time,
        });
    }
}
