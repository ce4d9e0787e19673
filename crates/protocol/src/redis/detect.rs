//! Whether a connection speaks RESP.

use super::commands::is_inline;
use super::reader::{Grammar, Reader, Sink, Step, is_type};
use crate::detect::{Evidence, Fit};

/// Longest inline command that detection waits for.
const INLINE_BYTES: usize = 1024;

/// What the beginning of a stream holds.
#[derive(Debug, Default)]
struct Scan {
    whole: usize,
    bad: bool,
    /// Elements of aggregates, and strings with a length: nothing else looks like these.
    structured: usize,
    /// The first argument of a command was read, and is a word.
    named: bool,
}

impl Sink for Scan {
    fn room(&self) -> usize {
        if self.structured == 0 { 64 } else { 0 }
    }
    fn open(&mut self, _kind: u8, _length: Option<u64>, _depth: usize) {}
    fn leaf(&mut self, kind: u8, data: &[u8], total: u64, _missing: u64, depth: usize) {
        if kind == b'$' || depth > 0 {
            let is_word =
                total == data.len() as u64 && data.iter().all(u8::is_ascii_graphic) && !data.is_empty();
            self.named |= self.structured == 0 && depth == 1 && is_word;
            self.structured += 1;
        }
    }
    fn shut(&mut self) {}
}

fn scan(mut bytes: &[u8], grammar: Grammar) -> Scan {
    let mut reader = Reader::new(grammar);
    let mut scan = Scan::default();
    while bytes
        .first()
        .is_some_and(|byte| !reader.is_between() || is_type(*byte, grammar))
    {
        match reader.feed(&mut bytes, &mut scan) {
            Step::Whole => scan.whole += 1,
            Step::NeedMore => {
                scan.bad = grammar == Grammar::Requests && !is_header_start(reader.line());
                return scan;
            }
            Step::Bad(_) => {
                scan.bad = true;
                return scan;
            }
        }
    }
    scan.bad = !bytes.is_empty() || !reader.is_between();
    scan
}

/// Whether a line that is not whole can become the header of an array or a string.
fn is_header_start(line: &[u8]) -> bool {
    let digits = line.get(1..).unwrap_or_default();
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    digits.len() <= 9 && digits.iter().all(u8::is_ascii_digit)
}

/// How well the first bytes of a connection fit.
pub(crate) fn fit(evidence: &Evidence<'_>) -> Fit {
    if evidence.midstream {
        midstream(evidence)
    } else {
        start(evidence)
    }
}

/// The client speaks first, and an array of strings is what no other protocol begins with.
fn start(evidence: &Evidence<'_>) -> Fit {
    match evidence.client.first() {
        None if evidence.server.is_empty() => Fit::Maybe,
        None => Fit::No,
        Some(b'*') => {
            let scan = scan(evidence.client, Grammar::Requests);
            match () {
                () if scan.bad && scan.whole == 0 => Fit::No,
                () if scan.named => Fit::Yes,
                () => Fit::Maybe,
            }
        }
        Some(_) => inline(evidence),
    }
}

/// A line can be anything: the answer decides.
fn inline(evidence: &Evidence<'_>) -> Fit {
    let end = memchr::memchr(b'\n', evidence.client);
    let line = end.map_or(evidence.client, |end| {
        evidence.client.get(..end).unwrap_or_default()
    });
    let words: Vec<&[u8]> = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    let is_text = line.len() < INLINE_BYTES && line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r'));
    if !is_text || !is_inline(&words, end.is_none()) || (end.is_none() && !evidence.server.is_empty()) {
        return Fit::No;
    }
    if end.is_none() {
        return Fit::Maybe;
    }
    let answer = scan(evidence.server, Grammar::Replies);
    match () {
        () if evidence.server.is_empty() => Fit::Maybe,
        () if answer.whole > 0 => Fit::Yes,
        () if answer.bad => Fit::No,
        () => Fit::Maybe,
    }
}

/// P-D3: a whole command somewhere after a line end, or values of the server that have a structure.
fn midstream(evidence: &Evidence<'_>) -> Fit {
    let starts =
        std::iter::once(0).chain(memchr::memmem::find_iter(evidence.client, b"\r\n*").map(|at| at + 2));
    let has_command = starts.into_iter().take(16).any(|at| {
        let rest = evidence.client.get(at..).unwrap_or_default();
        let scan = scan(rest, Grammar::Requests);
        scan.whole > 0 && scan.named
    });
    if has_command {
        return Fit::Yes;
    }
    let server = scan(evidence.server, Grammar::Replies);
    match () {
        () if !evidence.client.is_empty() => Fit::Maybe,
        () if !server.bad && server.whole > 0 && server.structured > 1 => Fit::Yes,
        () => Fit::Maybe,
    }
}
