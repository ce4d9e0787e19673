//! Reads values of RESP2 and RESP3 as their bytes come, without holding more of a string than is wanted.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

/// Longest line: a simple string, an error, a number or an inline command. Redis itself takes 64 KiB.
pub(super) const LINE_BYTES: usize = 64 << 10;
/// Longest string that may be announced (P-R1).
const BULK_BYTES: u64 = 512 << 20;
/// Most elements that may be announced (P-R1).
const ELEMENTS: u64 = 1 << 20;
/// Deepest nesting (P-R1).
const DEPTH: usize = 32;

/// What may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    /// Arrays of strings, or inline commands.
    Requests,
    /// Any value.
    Replies,
}

/// Takes the parts of a value in order.
pub(super) trait Sink {
    /// How many bytes of the next string are wanted.
    fn room(&self) -> usize;
    /// An aggregate of this type begins, `depth` aggregates deep, of so many elements if known.
    fn open(&mut self, kind: u8, length: Option<u64>, depth: usize);
    /// A value that is no aggregate. `data` is its beginning, `total` its length, of which `missing` bytes were not captured.
    fn leaf(&mut self, kind: u8, data: &[u8], total: u64, missing: u64, depth: usize);
    /// The innermost aggregate ends.
    fn shut(&mut self);
}

/// What came of feeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All bytes are taken and the value goes on.
    NeedMore,
    /// A value is whole.
    Whole,
    /// No value looks like that.
    Bad(&'static str),
}

#[derive(Debug)]
struct Bulk {
    kind: u8,
    /// Bytes still to come, line end included.
    remaining: u64,
    total: u64,
    missing: u64,
    room: usize,
    kept: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: u8,
    /// Elements still to come; `None`: until its end is told.
    left: Option<u64>,
}

/// Reads one side of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    grammar: Grammar,
    line: Vec<u8>,
    bulk: Option<Bulk>,
    stack: Vec<Frame>,
}

impl Reader {
    pub(super) const fn new(grammar: Grammar) -> Self {
        Self {
            grammar,
            line: Vec::new(),
            bulk: None,
            stack: Vec::new(),
        }
    }

    /// Whether no value is under way.
    pub(super) fn is_between(&self) -> bool {
        self.line.is_empty() && self.bulk.is_none() && self.stack.is_empty()
    }

    /// The line that is not whole yet.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.line.len() + self.bulk.as_ref().map_or(0, |bulk| bulk.kept.len())
    }

    /// Drops what is under way.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.grammar);
    }

    /// Takes bytes from the front of `data` up to the end of a value.
    pub(super) fn feed(&mut self, data: &mut &[u8], sink: &mut dyn Sink) -> Step {
        while !data.is_empty() {
            let step = if self.bulk.is_some() {
                self.feed_bulk(data, sink)
            } else {
                self.feed_line(data, sink)
            };
            match step {
                Step::NeedMore => {}
                step => return step,
            }
        }
        Step::NeedMore
    }

    /// Passes over `length` missing bytes if they lie within a string: `None` if they do not, and all is lost.
    pub(super) fn pass(&mut self, length: u64, sink: &mut dyn Sink) -> Option<Step> {
        let bulk = self.bulk.as_mut()?;
        if length > bulk.remaining {
            return None;
        }
        bulk.missing += length.min(bulk.remaining.saturating_sub(2));
        bulk.remaining -= length;
        // What follows the hole is not its head.
        bulk.room = 0;
        Some(if bulk.remaining == 0 {
            self.end_bulk(sink)
        } else {
            Step::NeedMore
        })
    }

    fn feed_bulk(&mut self, data: &mut &[u8], sink: &mut dyn Sink) -> Step {
        let Some(bulk) = &mut self.bulk else {
            return Step::NeedMore;
        };
        let payload = usize::try_from(bulk.remaining.saturating_sub(2))
            .unwrap_or(usize::MAX)
            .min(data.len());
        let (taken, mut rest) = data.split_at_checked(payload).unwrap_or((data, &[]));
        let wanted = bulk.room.min(taken.len());
        bulk.kept
            .extend_from_slice(taken.get(..wanted).unwrap_or_default());
        bulk.room -= wanted;
        bulk.remaining -= taken.len() as u64;
        while bulk.remaining <= 2
            && bulk.remaining > 0
            && let Some((byte, after)) = rest.split_first()
        {
            let expected = if bulk.remaining == 2 { b'\r' } else { b'\n' };
            if *byte != expected {
                *data = rest;
                return Step::Bad("a string does not end where it should");
            }
            bulk.remaining -= 1;
            rest = after;
        }
        *data = rest;
        if bulk.remaining == 0 {
            self.end_bulk(sink)
        } else {
            Step::NeedMore
        }
    }

    fn end_bulk(&mut self, sink: &mut dyn Sink) -> Step {
        let Some(bulk) = self.bulk.take() else {
            return Step::NeedMore;
        };
        sink.leaf(bulk.kind, &bulk.kept, bulk.total, bulk.missing, self.stack.len());
        self.element(sink)
    }

    fn feed_line(&mut self, data: &mut &[u8], sink: &mut dyn Sink) -> Step {
        let end = memchr::memchr(b'\n', data);
        let (part, rest) = match end {
            Some(end) => data.split_at_checked(end + 1).unwrap_or((data, &[])),
            None => (*data, &[][..]),
        };
        let room = LINE_BYTES - self.line.len().min(LINE_BYTES);
        if part.len() > room {
            *data = data.get(room..).unwrap_or_default();
            return Step::Bad("a line is too long");
        }
        *data = rest;
        if end.is_none() {
            self.line.extend_from_slice(part);
            return Step::NeedMore;
        }
        if self.line.is_empty() {
            return self.value(part, sink);
        }
        self.line.extend_from_slice(part);
        let line = std::mem::take(&mut self.line);
        let step = self.value(&line, sink);
        self.line = line;
        self.line.clear();
        step
    }

    /// A whole line, its end included.
    fn value(&mut self, line: &[u8], sink: &mut dyn Sink) -> Step {
        let depth = self.stack.len();
        let Some((&kind, _)) = line.split_first() else {
            return Step::NeedMore;
        };
        if self.grammar == Grammar::Requests && depth == 0 && kind != b'*' {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            sink.leaf(INLINE, line, line.len() as u64, 0, 0);
            return Step::Whole;
        }
        let Some(content) = line.strip_suffix(b"\r\n").and_then(|line| line.get(1..)) else {
            return Step::Bad("a line does not end in CR LF");
        };
        if self.grammar == Grammar::Requests && depth > 0 && kind != b'$' {
            return Step::Bad("an argument is not a string");
        }
        match kind {
            b'$' | b'!' | b'=' | b';' => self.bulk_header(kind, content, sink),
            b'*' | b'%' | b'~' | b'>' | b'|' => self.aggregate(kind, content, sink),
            b'+' | b'-' | b'(' | b',' => self.simple(kind, content, sink),
            b':' if number(content).is_some() => self.simple(kind, content, sink),
            b'#' if matches!(content, b"t" | b"f") => self.simple(kind, content, sink),
            b'_' if content.is_empty() => self.simple(kind, content, sink),
            b'.' if content.is_empty() => match self.stack.pop() {
                Some(Frame { left: None, kind }) if kind != b'$' => {
                    sink.shut();
                    self.element(sink)
                }
                _ => Step::Bad("an end of nothing"),
            },
            _ => Step::Bad("no value begins like that"),
        }
    }

    fn simple(&mut self, kind: u8, content: &[u8], sink: &mut dyn Sink) -> Step {
        sink.leaf(kind, content, content.len() as u64, 0, self.stack.len());
        self.element(sink)
    }

    fn bulk_header(&mut self, kind: u8, content: &[u8], sink: &mut dyn Sink) -> Step {
        let is_chunk_due = matches!(self.stack.last(), Some(Frame { kind: b'$', .. }));
        if is_chunk_due != (kind == b';') {
            return Step::Bad("a part of a string out of place");
        }
        match (kind, content, number(content)) {
            (b'$', b"?", _) => {
                if self.stack.len() >= DEPTH {
                    return Step::Bad("nested too deeply");
                }
                self.stack.push(Frame { kind, left: None });
                sink.open(b'$', None, self.stack.len() - 1);
                Step::NeedMore
            }
            (b';', _, Some(0)) => {
                self.stack.pop();
                sink.shut();
                self.element(sink)
            }
            (b'$', _, Some(-1)) if self.grammar == Grammar::Replies => {
                sink.leaf(b'_', b"", 0, 0, self.stack.len());
                self.element(sink)
            }
            (_, _, Some(length)) if (0..=BULK_BYTES.cast_signed()).contains(&length) => {
                let total = length.cast_unsigned();
                self.bulk = Some(Bulk {
                    kind,
                    remaining: total + 2,
                    total,
                    missing: 0,
                    room: sink.room(),
                    kept: Vec::new(),
                });
                Step::NeedMore
            }
            _ => Step::Bad("no length of a string"),
        }
    }

    fn aggregate(&mut self, kind: u8, content: &[u8], sink: &mut dyn Sink) -> Step {
        let depth = self.stack.len();
        let pairs = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
        let left = match (content, number(content)) {
            (b"?", _) if self.grammar == Grammar::Replies => None,
            (_, Some(-1)) if kind == b'*' => {
                sink.leaf(b'_', b"", 0, 0, depth);
                return self.element(sink);
            }
            (_, Some(count)) if (0..=(ELEMENTS / pairs).cast_signed()).contains(&count) => {
                Some(count.cast_unsigned() * pairs)
            }
            _ => return Step::Bad("no count of elements"),
        };
        if depth >= DEPTH {
            return Step::Bad("nested too deeply");
        }
        sink.open(kind, left, depth);
        self.stack.push(Frame { kind, left });
        if left == Some(0) {
            return self.shut(sink);
        }
        Step::NeedMore
    }

    /// The innermost aggregate has all its elements.
    fn shut(&mut self, sink: &mut dyn Sink) -> Step {
        let frame = self.stack.pop();
        sink.shut();
        match frame {
            // Attributes stand before a value and are none.
            Some(Frame { kind: b'|', .. }) => Step::NeedMore,
            _ => self.element(sink),
        }
    }

    /// A value is whole: so may be those around it.
    fn element(&mut self, sink: &mut dyn Sink) -> Step {
        match self.stack.last_mut() {
            None => Step::Whole,
            Some(Frame { left: None, .. }) => Step::NeedMore,
            Some(Frame { left: Some(left), .. }) => {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    // At most 32 deep.
                    self.shut(sink)
                } else {
                    Step::NeedMore
                }
            }
        }
    }
}

/// The type that stands for a line that is no RESP value.
pub(super) const INLINE: u8 = b'i';

/// Whether a value can begin with this byte.
pub(super) const fn is_type(byte: u8, grammar: Grammar) -> bool {
    match grammar {
        Grammar::Requests => byte == b'*',
        Grammar::Replies => matches!(
            byte,
            b'+' | b'-'
                | b':'
                | b'$'
                | b'*'
                | b'_'
                | b'#'
                | b','
                | b'('
                | b'!'
                | b'='
                | b'%'
                | b'~'
                | b'>'
                | b'|'
        ),
    }
}

/// A decimal number as RESP writes lengths and integers.
pub(super) fn number(content: &[u8]) -> Option<i64> {
    let digits = content
        .strip_prefix(b"-")
        .or(content.strip_prefix(b"+"))
        .unwrap_or(content);
    let is_number = (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(content)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}
