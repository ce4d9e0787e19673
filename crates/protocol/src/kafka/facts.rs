//! What is learned from one message, request or reply, while it passes.

use std::sync::Arc;

use super::draft::place_of_sample;
use super::records::{Batches, SAMPLES, Total};
use super::schema::Role;
use super::sink::Sink;
use super::topics::{Id, Topic, Topics};
use crate::Values;
use crate::command::shown;

/// Topics, partitions and names kept of one message (P-K3).
pub(super) const KEPT: usize = 64;
/// Partitions kept of a fetch.
const FETCHED: usize = 1024;
/// Bytes kept of a name.
const NAME_BYTES: usize = 256;
/// Bytes kept of the text of an error.
const MESSAGE_BYTES: usize = 1024;

/// What was said of one partition, topic or group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Of a topic.
    pub(super) topic: Option<Topic>,
    /// Of a group, transaction or resource.
    pub(super) name: Option<String>,
    pub(super) partition: Option<i32>,
    pub(super) error: i16,
    pub(super) message: Option<String>,
    pub(super) offset: Option<i64>,
    pub(super) node: Option<i32>,
    pub(super) total: Option<Total>,
}

/// A record as it is shown.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) topic: Option<Topic>,
    pub(super) partition: i32,
    pub(super) line: String,
    /// Of the line with the topic and the partition before it.
    pub(super) bytes: usize,
}

/// One element of a list, and what its fields said so far. The lowest one is the message itself.
#[derive(Debug, Default)]
struct Scope {
    id: Option<Id>,
    note: Note,
}

/// Of one message.
#[derive(Debug)]
pub(super) struct Facts {
    topics_of_all: Arc<Topics>,
    is_reply: bool,
    values: Values,
    scopes: Vec<Scope>,
    batches: Batches,
    sample_bytes: usize,
    /// What was said of the message as a whole.
    pub(super) whole: Note,
    pub(super) notes: Vec<Note>,
    /// The error that tells most: one that asking again does not mend, before others.
    pub(super) worst: Option<Note>,
    pub(super) errors: u64,
    pub(super) client: Option<String>,
    pub(super) topics: Vec<Topic>,
    pub(super) topic_count: u64,
    pub(super) groups: Vec<String>,
    pub(super) transactions: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) keys: Vec<String>,
    pub(super) software: Vec<String>,
    pub(super) mechanism: Option<String>,
    pub(super) acks: Option<i64>,
    pub(super) max_wait_ms: Option<i64>,
    pub(super) session: Option<i64>,
    pub(super) epoch: Option<i64>,
    pub(super) key_type: i64,
    pub(super) throttle_ms: Option<i64>,
    pub(super) fetched: Vec<(Topic, i32)>,
    pub(super) forgotten: Vec<(Topic, i32)>,
    pub(super) messages: u64,
    pub(super) samples: Vec<Sample>,
    /// Names were left out or cut, because of a limit or a hole.
    pub(super) truncated: bool,
    /// So were notes, partitions or batches.
    pub(super) is_partial: bool,
}

impl Facts {
    /// `values`: what of records is shown, in `sample_bytes`.
    pub(super) fn new(is_reply: bool, topics: Arc<Topics>, values: Values, sample_bytes: usize) -> Self {
        Self {
            topics_of_all: topics,
            is_reply,
            values,
            scopes: Vec::new(),
            batches: Batches::new(values),
            sample_bytes,
            whole: Note::default(),
            notes: Vec::new(),
            worst: None,
            errors: 0,
            client: None,
            topics: Vec::new(),
            topic_count: 0,
            groups: Vec::new(),
            transactions: Vec::new(),
            resources: Vec::new(),
            keys: Vec::new(),
            software: Vec::new(),
            mechanism: None,
            acks: None,
            max_wait_ms: None,
            session: None,
            epoch: None,
            key_type: 0,
            throttle_ms: None,
            fetched: Vec::new(),
            forgotten: Vec::new(),
            messages: 0,
            samples: Vec::new(),
            truncated: false,
            is_partial: false,
        }
    }

    /// Forgets the message; the next one is to come.
    pub(super) fn clear(&mut self) {
        let topics = Arc::clone(&self.topics_of_all);
        *self = Self::new(self.is_reply, topics, self.values, self.sample_bytes);
    }

    /// Bytes held, by and large.
    pub(super) fn held(&self) -> usize {
        let notes = self
            .notes
            .iter()
            .map(|note| note.message.as_ref().map_or(64, |text| text.len() + 64));
        self.batches.held()
            + notes.sum::<usize>()
            + self.samples.iter().map(|sample| sample.bytes).sum::<usize>()
            + (self.fetched.len() + self.forgotten.len()) * size_of::<(Topic, i32)>()
            + self.topics.len() * 64
    }

    /// The message is over.
    pub(super) fn finish(&mut self) {
        while !self.scopes.is_empty() {
            self.shut();
        }
        let whole = std::mem::take(&mut self.whole);
        self.note_error(&whole);
        self.whole = whole;
    }

    fn note(&mut self) -> &mut Note {
        match self.scopes.last_mut() {
            Some(scope) => &mut scope.note,
            None => &mut self.whole,
        }
    }

    fn note_error(&mut self, note: &Note) {
        if note.error == 0 {
            return;
        }
        self.errors += 1;
        let is_retriable = |code| super::errors::name(code).is_some_and(|(_, retriable)| retriable);
        let is_worse = self
            .worst
            .as_ref()
            .is_none_or(|worst| is_retriable(worst.error) && !is_retriable(note.error));
        if is_worse {
            self.worst = Some(note.clone());
        }
    }

    /// The topic that the fields here are of.
    fn topic(&self) -> Option<Topic> {
        let topic = |scope: &Scope| scope.note.topic.clone().or(scope.id.map(Topic::Id));
        self.scopes.iter().rev().find_map(topic)
    }

    fn partition(&self) -> Option<i32> {
        self.scopes.last().and_then(|scope| scope.note.partition)
    }

    fn add_topic(&mut self, topic: Topic) {
        self.topic_count += 1;
        if self.topics.contains(&topic) {
            return;
        }
        keep(&mut self.topics, topic, KEPT, &mut self.truncated);
    }
}

fn keep<T>(list: &mut Vec<T>, item: T, limit: usize, truncated: &mut bool) {
    if list.len() < limit {
        list.push(item);
    } else {
        *truncated = true;
    }
}

impl Sink for Facts {
    fn room(&self, role: Role) -> usize {
        match role {
            Role::Message => MESSAGE_BYTES,
            _ => NAME_BYTES,
        }
    }

    fn number(&mut self, role: Role, value: i64) {
        let small = i32::try_from(value).ok();
        match role {
            Role::Partition => {
                self.note().partition = small;
                if let (false, Some(topic), Some(partition)) = (self.is_reply, self.topic(), small) {
                    keep(
                        &mut self.fetched,
                        (topic, partition),
                        FETCHED,
                        &mut self.is_partial,
                    );
                }
            }
            Role::Forgotten => {
                if let (Some(topic), Some(partition)) = (self.topic(), small) {
                    keep(
                        &mut self.forgotten,
                        (topic, partition),
                        FETCHED,
                        &mut self.is_partial,
                    );
                }
            }
            // Of two in one element the first that is one.
            Role::Error if self.note().error == 0 => {
                self.note().error = i16::try_from(value).unwrap_or(-1);
            }
            Role::Throttle => self.throttle_ms = Some(value),
            Role::Acks => self.acks = Some(value),
            Role::MaxWait => self.max_wait_ms = Some(value),
            Role::SessionId => self.session = Some(value),
            Role::SessionEpoch => self.epoch = Some(value),
            Role::KeyType => self.key_type = value,
            Role::Node if value >= 0 => self.note().node = small,
            Role::Offset if value >= 0 => self.note().offset = Some(value),
            _ => {}
        }
    }

    fn uuid(&mut self, role: Role, value: Id) {
        if let (Role::TopicId, true, Some(scope)) = (role, value != [0; 16], self.scopes.last_mut()) {
            scope.id = Some(value);
        }
    }

    fn text(&mut self, role: Role, text: &[u8], is_whole: bool) {
        self.truncated |= !is_whole;
        let (mut name, _) = shown(text, self.room(role));
        if !is_whole {
            name.push('…');
        }
        let list = match role {
            Role::Topic => match self.scopes.last_mut() {
                Some(scope) => {
                    scope.note.topic = Some(Topic::Named(name.into()));
                    return;
                }
                // One of a list of names.
                None => return self.add_topic(Topic::Named(name.into())),
            },
            Role::Client => {
                self.client = Some(name);
                return;
            }
            Role::Message => {
                self.note().message = Some(name).filter(|text| !text.is_empty());
                return;
            }
            Role::Mechanism => {
                self.mechanism = Some(name);
                return;
            }
            Role::Group => &mut self.groups,
            Role::Transaction => &mut self.transactions,
            Role::Resource => &mut self.resources,
            Role::Key => &mut self.keys,
            Role::Software => &mut self.software,
            _ => return,
        };
        if !list.contains(&name) {
            keep(list, name.clone(), KEPT, &mut self.truncated);
        }
        if matches!(role, Role::Group | Role::Transaction | Role::Resource) && !self.scopes.is_empty() {
            self.note().name = Some(name);
        }
    }

    fn open(&mut self) {
        self.scopes.push(Scope::default());
    }

    fn shut(&mut self) {
        let Some(mut scope) = self.scopes.pop() else {
            return;
        };
        if let Some(id) = scope.id {
            match &scope.note.topic {
                Some(Topic::Named(name)) if self.is_reply => self.topics_of_all.learn(id, name),
                Some(_) => {}
                None => scope.note.topic = Some(Topic::Id(id)),
            }
        }
        if let Some(topic) = &scope.note.topic {
            self.add_topic(topic.clone());
        }
        let mut note = scope.note;
        if note.topic.is_none() {
            note.topic = self.topic();
        }
        self.note_error(&note);
        if let Some(total) = note.total {
            self.messages = self.messages.saturating_add(total.messages);
        }
        if note.error != 0 || note.offset.is_some() || note.total.is_some() || note.node.is_some() {
            keep(&mut self.notes, note, KEPT, &mut self.is_partial);
        }
    }

    fn records(&mut self) {
        let shown = self.samples.iter().map(|sample| sample.bytes).sum();
        let room = self.sample_bytes.saturating_sub(shown);
        self.batches
            .start(SAMPLES.saturating_sub(self.samples.len()), room);
    }

    fn records_bytes(&mut self, data: &[u8]) {
        self.batches.bytes(data);
    }

    fn records_gap(&mut self, length: u64) {
        self.batches.gap(length);
    }

    fn records_end(&mut self) {
        let (total, lines) = self.batches.end();
        self.is_partial |= total.is_partial;
        if !lines.is_empty() {
            let topic = self.topic();
            let partition = self.partition().unwrap_or(-1);
            let names = self.topics_of_all.names();
            let place = place_of_sample(topic.as_ref(), partition, &names).len();
            let samples = lines.into_iter().map(|line| Sample {
                topic: topic.clone(),
                partition,
                bytes: place + line.len(),
                line,
            });
            self.samples.extend(samples);
        }
        self.note().total = Some(total).filter(|total| total.bytes > 0);
    }
}
