//! Keeps the head of a body and counts the rest (P-B2).

use bytes::{Bytes, BytesMut};
use qtap_protocol::encoding;

use crate::settings::Budget;
use crate::{Body, Stats};

/// One body while it passes.
#[derive(Debug)]
pub(crate) struct BodyCollector {
    limit: usize,
    kept: BytesMut,
    total: u64,
    gap_bytes: u64,
    truncated: bool,
    /// Bytes that would have been kept if there had been memory; from the first one on, none are.
    refused_bytes: usize,
}

impl BodyCollector {
    /// Bytes that it keeps at most.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// What it came to so far, without the bytes.
    pub(crate) fn so_far(&self) -> Body {
        Body {
            total: self.total,
            gap_bytes: self.gap_bytes,
            ..Body::default()
        }
    }

    /// Keeps up to `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: BytesMut::new(),
            total: 0,
            gap_bytes: 0,
            truncated: false,
            refused_bytes: 0,
        }
    }

    /// Adds captured bytes. They are copied, so that a long body does not pin the arenas of the ring reader.
    pub(crate) fn push(&mut self, data: &[u8], budget: &Budget, stats: &Stats) {
        self.total += data.len() as u64;
        let room = self.limit.saturating_sub(self.kept.len() + self.refused_bytes);
        let wanted = data.get(..room.min(data.len())).unwrap_or_default();
        self.truncated |= wanted.len() < data.len();
        if wanted.is_empty() {
            return;
        }
        if self.refused_bytes == 0 && budget.take(wanted.len()) {
            self.kept.extend_from_slice(wanted);
        } else {
            self.truncated = true;
            self.refused_bytes += wanted.len();
            stats.lost_memory.add(wanted.len() as u64);
        }
    }

    /// Counts `length` bytes that were not captured.
    pub(crate) fn gap(&mut self, length: u64) {
        self.total += length;
        self.gap_bytes += length;
    }

    /// Counts `length` bytes that nobody wanted.
    pub(crate) fn pass(&mut self, length: u64) {
        self.total += length;
    }

    /// Gives its bytes back to the budget and makes the finished body, content coding `encoding` removed.
    pub(crate) fn finish(self, encoding: Option<&[u8]>, budget: &Budget) -> Body {
        budget.give(self.kept.len());
        let raw = self.kept.freeze();
        let encoding = encoding.map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase());
        let encoding = encoding.filter(|name| !name.is_empty() && name != "identity");
        let mut body = Body {
            data: raw.clone(),
            total: self.total,
            gap_bytes: self.gap_bytes,
            truncated: self.truncated,
            encoding,
            decode_error: None,
        };
        if let (Some(name), true) = (&body.encoding, !raw.is_empty() && self.limit > 0) {
            match decode(name, &raw, self.limit, self.gap_bytes) {
                Ok((data, cut)) => {
                    body.data = data;
                    body.truncated |= cut;
                }
                Err(error) => body.decode_error = Some(error),
            }
        }
        body
    }
}

/// Removes content coding; what follows a hole cannot be decoded, so a body with one stays as it is.
fn decode(name: &str, raw: &Bytes, limit: usize, gap_bytes: u64) -> Result<(Bytes, bool), String> {
    if gap_bytes > 0 {
        return Err(format!("{gap_bytes} bytes are missing"));
    }
    let decoded = encoding::decode(name, raw, limit).map_err(|error| error.to_string())?;
    Ok((decoded.bytes, decoded.truncated))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-B2.
    #[test]
    fn keeps_the_head_and_counts_the_rest() {
        let (budget, stats) = (Budget::new(1 << 20), Stats::default());
        let mut collector = BodyCollector::new(4);
        collector.push(b"abc", &budget, &stats);
        collector.push(b"def", &budget, &stats);
        collector.gap(10);
        let body = collector.finish(None, &budget);
        assert_eq!(
            (&body.data[..], body.total, body.gap_bytes, body.truncated),
            (&b"abcd"[..], 16, 10, true)
        );
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_body_over_the_memory_budget_is_cut_and_counted() {
        let (budget, stats) = (Budget::new(4), Stats::default());
        let mut collector = BodyCollector::new(100);
        collector.push(b"abcd", &budget, &stats);
        collector.push(b"efgh", &budget, &stats);
        collector.push(b"ijkl", &budget, &stats);
        let body = collector.finish(None, &budget);
        assert!(body.truncated && body.total == 12 && stats.lost_memory.get() == 8);
    }
}
