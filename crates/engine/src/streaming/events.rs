//! Event streams.

use bytes::Bytes;
use qtap_protocol::encoding::StreamDecoder;
use qtap_protocol::sse::{Decoder, ServerEvent, Traffic};
use qtap_protocol::{ResponseHead, Time};

use super::Kept;
use crate::context::Context;

/// An event stream so far: counts from its beginning, events since the report before.
#[derive(Clone, Debug, Default)]
pub struct EventStream {
    /// What it came to.
    pub traffic: Traffic,
    /// Events; kept only if bodies are wanted.
    pub events: Vec<ServerEvent>,
    /// Events since the report before that were not kept, because of a limit.
    pub dropped: u64,
    /// Why events are not told apart from here on.
    pub decode_error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Live {
    coding: Option<StreamDecoder>,
    decoder: Decoder,
    pub(super) kept: Kept<ServerEvent>,
    fresh: Vec<ServerEvent>,
    decode_error: Option<String>,
}

impl Live {
    pub(super) fn new(response: &ResponseHead, limit: usize) -> Self {
        let encoding = response.field("content-encoding").unwrap_or_default();
        let (coding, decode_error) = match StreamDecoder::new(&String::from_utf8_lossy(encoding)) {
            Ok(coding) => (coding, None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            coding,
            decoder: Decoder::new(limit),
            kept: Kept::new(limit),
            fresh: Vec::new(),
            decode_error,
        }
    }

    /// Bytes held; a decoder of a content coding has a window of 32 KiB and more.
    pub(super) fn held(&self) -> usize {
        let coding = self.coding.as_ref().map_or(0, StreamDecoder::held);
        self.decoder.held() + coding
    }

    pub(super) fn bytes(&mut self, data: &Bytes, time: Time, cx: &Context<'_>) {
        if self.decode_error.is_some() {
            return;
        }
        match &mut self.coding {
            None => self.decoder.bytes(data, time, &mut self.fresh),
            Some(coding) => {
                let (decoder, fresh) = (&mut self.decoder, &mut self.fresh);
                if let Err(error) = coding.push(data, |piece| decoder.bytes(piece, time, fresh)) {
                    self.stop(error.to_string());
                }
            }
        }
        for event in self.fresh.drain(..) {
            let payload = event.data.len();
            self.kept.push(event, payload, cx);
        }
    }

    pub(super) fn gap(&mut self) {
        self.decoder.gap();
        if self.coding.is_some() {
            self.stop("bytes of a coded body are missing".to_owned());
        }
    }

    fn stop(&mut self, error: String) {
        self.coding = None;
        self.decode_error = Some(error);
    }

    pub(super) fn state(&mut self, cx: &Context<'_>) -> EventStream {
        let (events, dropped) = self.kept.take(cx);
        EventStream {
            traffic: self.decoder.traffic().clone(),
            events,
            dropped,
            decode_error: self.decode_error.clone(),
        }
    }

    pub(super) fn end(mut self, cx: &Context<'_>) -> EventStream {
        self.decoder.close();
        self.state(cx)
    }

    pub(super) fn relieve(&mut self, cx: &Context<'_>) {
        self.decoder.relieve();
        let (events, dropped) = self.kept.take(cx);
        self.kept.dropped = dropped + events.len() as u64;
    }
}
