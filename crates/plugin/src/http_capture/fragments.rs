//! JSON that the artifacts of a connection have alike, written once.

use qtap_engine::ConnectionFacts;

use crate::exchange::Labels;
use crate::json::{Object, key};

/// Parts of an artifact, each some members with a comma behind every one of them.
#[derive(Debug)]
pub(crate) struct Fragments {
    /// `process_id` and `process_exe` of the metadata.
    pub(super) process: Box<[u8]>,
    /// `connection_id`, `endpoint_id` and `tags` of the metadata.
    pub(super) connection: Box<[u8]>,
    /// Of the provenance what stands between its kind and the request's id.
    pub(super) provenance: Box<[u8]>,
    /// Of the summary what stands before the request's id.
    pub(super) summary: Box<[u8]>,
    /// Of the summary what stands behind the request's id.
    pub(super) summary_connection: Box<[u8]>,
    /// `tags`, if there are any.
    pub(super) tags: Box<[u8]>,
}

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
        Self {
            process: members(|object| {
                if let Some(process) = process {
                    object.word(key!("process_id"), itoa::Buffer::new().format(process.pid.0));
                }
                object.text_if_any(key!("process_exe"), exe);
            }),
            connection: members(|object| {
                object.text(key!("connection_id"), connection.public_id.as_bytes());
                object.text(key!("endpoint_id"), labels.endpoint_id.as_bytes());
                tags(object);
            }),
            provenance: members(|object| {
                object.text(key!("connectionId"), connection.public_id.as_bytes());
                object.text(key!("endpointId"), labels.endpoint_id.as_bytes());
            }),
            summary: members(|object| {
                object.word(key!("direction"), connection.direction.name());
                object.text_if_any(key!("process_exe"), exe);
            }),
            summary_connection: members(|object| {
                object.text(key!("connection_id"), connection.public_id.as_bytes());
            }),
            tags: members(tags),
        }
    }
}

fn members(fill: impl FnOnce(&mut Object<'_>)) -> Box<[u8]> {
    let mut out = Vec::new();
    fill(&mut Object::members(&mut out));
    out.into()
}
