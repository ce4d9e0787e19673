//! Facts of a request and of its reply as a command and a result, whose topics may not be named yet.

use std::sync::Arc;

use super::draft::{Draft, Line, plural};
use super::facts::{Facts, Note, Sample};
use super::schema::{Api, FETCH, PRODUCE, SASL_AUTHENTICATE, SHARE_FETCH};
use super::session::Asked;
use super::topics::{Id, Names, Topic};
use crate::{Command, CommandResult, CommandText, REDACTED, Session};

/// What a request asks, before its topics are named.
#[derive(Debug)]
pub(super) struct Request {
    name: String,
    asked: Asked,
    resources: Vec<String>,
    groups: Vec<String>,
    transactions: Vec<String>,
    keys: Vec<String>,
    keys_are: &'static str,
    mechanism: Option<String>,
    software: Vec<String>,
    client: Option<Arc<str>>,
    is_secret: bool,
    truncated: bool,
    limit: usize,
}

impl Request {
    /// Takes out of `facts` what it names, with the topics of `asked` in place of its own. At most `limit` bytes of text are shown.
    pub(super) fn of(
        name: String,
        api: Option<&Api>,
        facts: &mut Facts,
        asked: Asked,
        client: Option<Arc<str>>,
        limit: usize,
    ) -> Self {
        Self {
            name,
            asked,
            resources: std::mem::take(&mut facts.resources),
            groups: std::mem::take(&mut facts.groups),
            transactions: std::mem::take(&mut facts.transactions),
            keys: std::mem::take(&mut facts.keys),
            keys_are: match facts.key_type {
                1 => "transaction",
                2 => "share",
                _ => "group",
            },
            mechanism: facts.mechanism.clone(),
            software: std::mem::take(&mut facts.software),
            client,
            is_secret: api.is_some_and(|api| api.key == SASL_AUTHENTICATE),
            truncated: facts.truncated,
            limit,
        }
    }

    /// Ids of its topics.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.asked.topics.iter().filter_map(Topic::id)
    }

    /// Bytes held, by and large.
    pub(super) fn held(&self) -> usize {
        let lists = [
            &self.resources,
            &self.groups,
            &self.transactions,
            &self.keys,
            &self.software,
        ];
        let texts = lists
            .into_iter()
            .flatten()
            .map(|text| text.len() + size_of::<String>());
        size_of::<Self>() + self.asked.topics.len() * size_of::<Topic>() + texts.sum::<usize>()
    }

    /// The command, as far as `names` are known.
    pub(super) fn command(&self, names: &Names<'_>) -> Command {
        let mut words = vec![self.name.clone()];
        let mut topics: Vec<_> = (self.asked.topics.iter())
            .map(|topic| names.shown(topic))
            .collect();
        if self.asked.are_sorted {
            topics.sort_unstable();
        }
        if !topics.is_empty() {
            words.push(topics.join(","));
        }
        if !self.resources.is_empty() {
            words.push(self.resources.join(","));
        }
        for (label, names) in [
            ("group", &self.groups),
            ("transaction", &self.transactions),
            (self.keys_are, &self.keys),
        ] {
            if !names.is_empty() {
                words.push(format!("{label}={}", names.join(",")));
            }
        }
        if let Some(mechanism) = &self.mechanism {
            words.push(format!("mechanism={mechanism}"));
        }
        if !self.software.is_empty() {
            words.push(format!("software={}", self.software.join("/")));
        }
        if self.is_secret {
            words.push(REDACTED.to_owned());
        }
        let mut command = Command {
            name: self.name.clone(),
            text: CommandText::Words(words),
            prepared: None,
            parameters: Vec::new(),
            session: Session {
                client: self.client.clone(),
                ..Session::default()
            },
            truncated: self.truncated,
            redacted: self.is_secret,
        };
        command.cut(self.limit);
        command
    }
}

/// Of a request, what its result needs.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) notes: Vec<Note>,
    pub(super) messages: u64,
    pub(super) samples: Vec<Sample>,
    /// Notes are not of all partitions.
    is_partial: bool,
    /// Partitions of a fetch that opens a session.
    pub(super) fetched: Vec<(Topic, i32)>,
}

impl Sent {
    pub(super) fn of(facts: &mut Facts) -> Self {
        Self {
            notes: std::mem::take(&mut facts.notes),
            messages: facts.messages,
            samples: std::mem::take(&mut facts.samples),
            is_partial: facts.is_partial,
            fetched: std::mem::take(&mut facts.fetched),
        }
    }

    /// The count alone.
    pub(super) fn shortened(&self) -> Self {
        Self {
            messages: self.messages,
            is_partial: true,
            ..Self::default()
        }
    }

    /// Bytes held, by and large.
    pub(super) fn held(&self) -> usize {
        (self.notes.len() + self.fetched.len()) * 64
            + self.samples.iter().map(|sample| sample.bytes).sum::<usize>()
    }
}

/// The result of a request that has no reply.
pub(super) fn unanswered(sent: Sent) -> Draft {
    let mut lines = vec![Line::Text(count_of(sent.messages))];
    lines.extend(sent.notes.into_iter().map(Line::Note));
    lines.extend(sent.samples.into_iter().map(Line::Sample));
    Draft {
        result: CommandResult {
            kind: "no_reply",
            affected: Some(sent.messages),
            truncated: sent.is_partial,
            ..CommandResult::default()
        },
        lines,
        failure: None,
    }
}

/// The result of a request, of whose reply is known only that it came.
pub(super) fn unread() -> Draft {
    Draft::of_kind("unread")
}

/// The result of a request whose reply was read.
pub(super) fn result(api: &Api, sent: Sent, facts: &mut Facts, names: &Names<'_>) -> Draft {
    let mut notes = std::mem::take(&mut facts.notes);
    let (mut lost, mut lines) = (0_u64, Vec::new());
    for asked in &sent.notes {
        let told = notes.iter_mut().find(|note| {
            note.partition == asked.partition && names.are_same(note.topic.as_ref(), asked.topic.as_ref())
        });
        if let Some(told) = told {
            told.total = told.total.or(asked.total);
            told.offset = told.offset.or(asked.offset);
            let messages = asked.total.map_or(0, |total| total.messages);
            lost += if told.error == 0 { 0 } else { messages };
        } else if asked.offset.is_some() && notes.len() < super::facts::KEPT {
            // Commits of offsets, of which the reply has nothing to say.
            notes.push(asked.clone());
        }
    }
    let is_produce = api.key == PRODUCE;
    let is_fetch = matches!(api.key, FETCH | SHARE_FETCH);
    if is_produce || is_fetch {
        let messages = if is_produce { sent.messages } else { facts.messages };
        lines.push(Line::Text(count_of(messages)));
    }
    if facts.whole.node.is_some() || facts.whole.error != 0 {
        lines.push(Line::Note(facts.whole.clone()));
    }
    lines.extend(notes.into_iter().map(Line::Note));
    lines.extend(sent.samples.into_iter().map(Line::Sample));
    lines.extend(facts.samples.drain(..).map(Line::Sample));
    let failure = facts.worst.take().map(|note| (note, facts.errors));
    let all_failed = facts.whole.error != 0;
    let result = CommandResult {
        kind: if failure.is_some() { "Error" } else { "OK" },
        affected: is_produce.then(|| {
            if all_failed {
                0
            } else {
                sent.messages.saturating_sub(lost)
            }
        }),
        count: match () {
            () if is_fetch => Some(facts.messages),
            () if !is_produce && facts.topic_count > 0 => Some(facts.topic_count),
            () => None,
        },
        truncated: facts.truncated || facts.is_partial || sent.is_partial,
        throttle_ms: facts
            .throttle_ms
            .and_then(|ms| u32::try_from(ms).ok())
            .filter(|ms| *ms > 0),
        ..CommandResult::default()
    };
    Draft {
        result,
        lines,
        failure,
    }
}

fn count_of(messages: u64) -> String {
    format!("{messages} message{}", plural(messages))
}
