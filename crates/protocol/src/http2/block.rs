//! A header block in assembly: HEADERS or PUSH_PROMISE with its CONTINUATIONs (P-2e).

use crate::{Field, Limits, Time};

use super::hpack::{BlockError, Decoder, Step};

/// Fields that there is room for from the first.
const USUAL_FIELDS: usize = 12;

/// The fields of one block, as far as they are kept.
#[derive(Debug, Default)]
pub(crate) struct FieldList {
    pub(crate) fields: Vec<Field>,
    /// Size by RFC 9113 §6.5.2: 32 bytes a field beside its text.
    size: usize,
    /// Some fields could not be learned.
    pub(crate) partial: bool,
    /// Fields beyond the limits were left out.
    pub(crate) truncated: bool,
}

impl FieldList {
    fn push(&mut self, field: Field, limits: &Limits) {
        let size = self
            .size
            .saturating_add(32 + field.name.len() + field.value.len());
        if size > limits.header_list_bytes || self.fields.len() >= limits.head_fields {
            self.truncated = true;
            return;
        }
        self.size = size;
        if self.fields.capacity() == 0 {
            self.fields.reserve(USUAL_FIELDS);
        }
        self.fields.push(field);
    }
}

/// What the block heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// HEADERS of this stream.
    Message,
    /// The request of this promised stream; unknown while its id was not seen.
    Promise(Option<u32>),
}

/// A header block of which the last frame has not ended.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) stream: u32,
    pub(crate) subject: Subject,
    pub(crate) end_stream: bool,
    /// First byte of its first frame.
    pub(crate) started: Time,
    /// Whole frames so far.
    pub(crate) frame_bytes: u64,
    pub(crate) gap_bytes: u64,
    pub(crate) list: FieldList,
    /// Bytes of a representation that is not whole yet, at most two strings' worth.
    pending: Vec<u8>,
    fault: Option<&'static str>,
}

impl Block {
    pub(crate) fn new(stream: u32, subject: Subject, end_stream: bool, started: Time) -> Self {
        Self {
            stream,
            subject,
            end_stream,
            started,
            frame_bytes: 0,
            gap_bytes: 0,
            list: FieldList::default(),
            pending: Vec::new(),
            fault: None,
        }
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        self.pending.len()
    }

    /// Decodes the next bytes of the fragment.
    pub(crate) fn decode(&mut self, decoder: &mut Decoder, fragment: &[u8], limits: &Limits) {
        if self.fault.is_some() {
            return;
        }
        if self.pending.is_empty() {
            let rest = self.decode_from(decoder, fragment, limits);
            self.pending.extend_from_slice(rest);
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(fragment);
            let rest = self.decode_from(decoder, &pending, limits).len();
            pending.drain(..pending.len() - rest);
            self.pending = pending;
        }
    }

    /// Decodes whole representations and returns the bytes of the one that is not.
    fn decode_from<'a>(&mut self, decoder: &mut Decoder, mut data: &'a [u8], limits: &Limits) -> &'a [u8] {
        loop {
            match decoder.step(data) {
                Ok((Step::NeedMore, _)) => return data,
                Ok((step, taken)) => {
                    data = data.get(taken..).unwrap_or_default();
                    match step {
                        Step::Field(field) => self.list.push(field, limits),
                        Step::Unknown => self.list.partial = true,
                        Step::Update | Step::NeedMore => {}
                    }
                }
                Err(BlockError(reason)) => {
                    self.spoil(decoder, reason);
                    return &[];
                }
            }
        }
    }

    /// Part of the block is lost or senseless: what was decoded stands, the rest and the table are unknown
    /// (P-2d).
    pub(crate) fn spoil(&mut self, decoder: &mut Decoder, reason: &'static str) {
        if self.fault.is_none() {
            self.fault = Some(reason);
            self.list.partial = true;
            self.pending = Vec::new();
            decoder.unsync();
        }
    }

    /// Ends the block; a fault, if any, is returned.
    pub(crate) fn finish(&mut self, decoder: &mut Decoder) -> Option<&'static str> {
        if !self.pending.is_empty() {
            self.spoil(decoder, "header block cut short");
        }
        self.fault
    }
}
