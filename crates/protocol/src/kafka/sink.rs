//! What a walk over a message begins with, hands out, and comes to.

use super::schema::{Field, Role};

/// Takes what is read.
pub(super) trait Sink {
    /// Bytes to keep of a text.
    fn room(&self, role: Role) -> usize;
    /// A number with a role.
    fn number(&mut self, role: Role, value: i64);
    /// An id with a role.
    fn uuid(&mut self, role: Role, value: [u8; 16]);
    /// A text with a role, or its first part.
    fn text(&mut self, role: Role, text: &[u8], is_whole: bool);
    /// An element of a list begins, and its fields follow.
    fn open(&mut self);
    /// It ends.
    fn shut(&mut self);
    /// Batches of records begin.
    fn records(&mut self);
    /// Their bytes.
    fn records_bytes(&mut self, data: &[u8]);
    /// Bytes of theirs that are missing.
    fn records_gap(&mut self, length: u64);
    /// They end.
    fn records_end(&mut self);
}

/// What walking came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    NeedMore,
    /// The message is at its end.
    Done,
    /// The message is not what it should be.
    Bad(&'static str),
}

/// Where a message begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) fields: &'static [Field],
    pub(super) version: i16,
    pub(super) flexible: bool,
    /// More follows, which is not described.
    pub(super) is_open: bool,
    /// With `UNSUPPORTED_VERSION` the rest is laid out in another way: so answers a broker that does not know the version of
    /// `ApiVersions`. Kafka falls back to version 0, others have forms of their own, and clients read the code alone.
    pub(super) falls_back: bool,
    /// The name of the client comes first.
    pub(super) has_client: bool,
    /// Tagged fields of the header come then.
    pub(super) has_header_tags: bool,
}
