//! JSON that the artifacts of a connection have alike, written once.

use qtap_engine::ConnectionFacts;

use crate::exchange::Labels;
use crate::json::{Object, key};

/// Parts of an artifact, each some members with a comma behind every one of them.
///
/// In one piece, and not a piece for each part: with many connections most of it is not in the processor's caches when it is needed.
#[derive(Debug)]
pub(crate) struct Fragments {
    text: Box<[u8]>,
    /// Where each part ends, in the order of the methods below.
    ends: [usize; PARTS],
}

const PARTS: usize = 6;
/// Bytes that come from memory at a time.
const CACHE_LINE: usize = 64;

impl Fragments {
    /// Those of `connection`.
    pub(super) fn new(connection: &ConnectionFacts, labels: &Labels) -> Self {
        let process = connection.process.as_deref();
        let exe = process.map_or("", |process| process.exe.as_str());
        let tags = |object: &mut Object<'_>| {
            if !labels.tags.is_empty() {
                object.json(key!("tags"), labels.tags.json());
            }
        };
        let mut text = Vec::new();
        let ends = [
            part(&mut text, |object| {
                if let Some(process) = process {
                    object.word(key!("process_id"), itoa::Buffer::new().format(process.pid.0));
                }
                object.text_if_any(key!("process_exe"), exe);
            }),
            part(&mut text, |object| {
                object.text(key!("connection_id"), connection.public_id.as_bytes());
                object.text(key!("endpoint_id"), labels.endpoint_id.as_bytes());
                tags(object);
            }),
            part(&mut text, |object| {
                object.text(key!("connectionId"), connection.public_id.as_bytes());
                object.text(key!("endpointId"), labels.endpoint_id.as_bytes());
            }),
            part(&mut text, |object| {
                object.word(key!("direction"), connection.direction.name());
                object.text_if_any(key!("process_exe"), exe);
            }),
            part(&mut text, |object| {
                object.text(key!("connection_id"), connection.public_id.as_bytes());
            }),
            part(&mut text, tags),
        ];
        Self {
            text: text.into(),
            ends,
        }
    }

    /// `process_id` and `process_exe` of the metadata.
    pub(super) fn process(&self) -> &[u8] {
        self.between(0, self.ends[0])
    }

    /// `connection_id`, `endpoint_id` and `tags` of the metadata.
    pub(super) fn connection(&self) -> &[u8] {
        self.between(self.ends[0], self.ends[1])
    }

    /// Of the provenance what stands between its kind and the request's id.
    pub(super) fn provenance(&self) -> &[u8] {
        self.between(self.ends[1], self.ends[2])
    }

    /// Of the summary what stands before the request's id.
    pub(super) fn summary(&self) -> &[u8] {
        self.between(self.ends[2], self.ends[3])
    }

    /// Of the summary what stands behind the request's id.
    pub(super) fn summary_connection(&self) -> &[u8] {
        self.between(self.ends[3], self.ends[4])
    }

    /// `tags`, if there are any.
    pub(super) fn tags(&self) -> &[u8] {
        self.between(self.ends[4], self.ends[5])
    }

    fn between(&self, start: usize, end: usize) -> &[u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    /// Has it come into the processor's caches.
    pub(crate) fn look_ahead(&self) {
        for byte in self.text.iter().step_by(CACHE_LINE) {
            std::hint::black_box(*byte);
        }
    }
}

/// Writes a part, and says where it ends.
fn part(text: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) -> usize {
    fill(&mut Object::members(text));
    text.len()
}
