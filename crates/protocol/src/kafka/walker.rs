//! Walks over a message as it arrives, after the description of its version. Holds one text at a time and allocates nothing from a length.

use super::schema::{Field, Kind, Role};
use super::sink::{Sink, Start, Step};

/// Code of an error.
const UNSUPPORTED_VERSION: i64 = 35;

#[derive(Clone, Copy, Debug)]
enum Level {
    Struct {
        fields: &'static [Field],
        next: usize,
        is_element: bool,
    },
    Tags {
        fields: &'static [Field],
        left: u32,
        is_element: bool,
    },
    List {
        item: &'static Kind,
        role: Role,
        left: u64,
    },
}

/// What a length is of.
#[derive(Clone, Copy, Debug)]
enum Of {
    Text(Role),
    Blob(Role),
    List(Role, &'static Kind),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Next,
    Number {
        role: Role,
        width: u8,
    },
    Skip(u64),
    Length {
        of: Of,
        width: u8,
    },
    Presence {
        fields: &'static [Field],
        is_element: bool,
    },
    TagCount {
        fields: &'static [Field],
        is_element: bool,
    },
    TagNumber {
        fields: &'static [Field],
    },
    TagSize {
        field: Option<&'static Field>,
    },
    Text {
        role: Role,
        left: u64,
        is_whole: bool,
    },
    Records {
        left: u64,
    },
    Done,
    Broken,
}

/// A walk over one message.
#[derive(Debug)]
pub(super) struct Walker {
    version: i16,
    flexible: bool,
    /// Bytes of the message that have not come.
    left: u64,
    levels: Vec<Level>,
    state: State,
    /// Bytes of a number that is not whole.
    number: u128,
    got: u8,
    kept: Vec<u8>,
    /// After the header: its tagged fields.
    has_header_tags: bool,
    falls_back: bool,
    /// What follows the part that is described is not.
    pub(super) is_open: bool,
}

impl Walker {
    pub(super) const fn idle() -> Self {
        Self {
            version: 0,
            flexible: false,
            left: 0,
            levels: Vec::new(),
            state: State::Done,
            number: 0,
            got: 0,
            kept: Vec::new(),
            has_header_tags: false,
            falls_back: false,
            is_open: false,
        }
    }

    /// Begins a message of `length` bytes.
    pub(super) fn start(&mut self, start: &Start, length: u64) {
        self.version = start.version;
        self.flexible = start.flexible;
        self.left = length;
        self.levels.clear();
        self.levels.push(Level::Struct {
            fields: start.fields,
            next: 0,
            is_element: false,
        });
        self.has_header_tags = start.has_header_tags;
        self.falls_back = start.falls_back;
        self.is_open = start.is_open;
        self.state = if start.has_client {
            // Of the old form in every version, so that every broker can read it.
            State::Length {
                of: Of::Text(Role::Client),
                width: 2,
            }
        } else {
            State::Next
        };
        self.number = 0;
        self.got = 0;
        self.kept.clear();
    }

    /// Whether bytes were missing that are needed to go on.
    pub(super) const fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    pub(super) const fn held(&self) -> usize {
        self.kept.len()
    }

    /// Takes bytes from the front of `data`, all of which belong to the message. At the end of the message, call it with none.
    pub(super) fn feed(&mut self, data: &mut &[u8], sink: &mut dyn Sink) -> Step {
        loop {
            match self.state {
                State::Done => return Step::Done,
                State::Broken => {
                    *data = &[];
                    return Step::NeedMore;
                }
                State::Next => self.next(sink),
                State::Skip(0) => self.state = State::Next,
                State::Text { left: 0, .. } => self.end_text(sink),
                State::Records { left: 0 } => {
                    sink.records_end();
                    self.state = State::Next;
                }
                _ if data.is_empty() => return Step::NeedMore,
                _ => {
                    if let Err(reason) = self.take(data, sink) {
                        return Step::Bad(reason);
                    }
                }
            }
        }
    }

    /// Passes over missing bytes of the message.
    pub(super) fn gap(&mut self, length: u64, sink: &mut dyn Sink) {
        self.left = self.left.saturating_sub(length);
        match &mut self.state {
            State::Skip(left) if length <= *left => *left -= length,
            State::Text { left, is_whole, .. } if length <= *left => {
                *left -= length;
                *is_whole = false;
            }
            State::Records { left } if length <= *left => {
                *left -= length;
                sink.records_gap(length);
            }
            _ => self.state = State::Broken,
        }
    }

    /// Decides what comes next, without taking bytes.
    fn next(&mut self, sink: &mut dyn Sink) {
        if std::mem::take(&mut self.has_header_tags) {
            self.state = State::TagCount {
                fields: &[],
                is_element: false,
            };
            return;
        }
        let version = self.version;
        match self.levels.last_mut() {
            None => self.state = State::Done,
            Some(Level::Struct {
                fields,
                next,
                is_element,
            }) => {
                let rest = fields.iter().enumerate().skip(*next);
                let mut here = rest.filter(|(_, field)| field.tag < 0 && field.is_in(version));
                if let Some((place, field)) = here.next() {
                    *next = place + 1;
                    self.begin(field.kind, field.role, field.can_be_null(version), false, sink);
                } else if self.flexible {
                    self.state = State::TagCount {
                        fields,
                        is_element: *is_element,
                    };
                    self.levels.pop();
                } else {
                    let is_element = *is_element;
                    self.leave(is_element, sink);
                }
            }
            Some(Level::Tags {
                left: 0, is_element, ..
            }) => {
                let is_element = *is_element;
                self.leave(is_element, sink);
            }
            Some(Level::Tags { fields, left, .. }) => {
                *left -= 1;
                self.state = State::TagNumber { fields };
            }
            Some(Level::List { left: 0, .. }) => {
                self.levels.pop();
            }
            Some(Level::List { item, role, left }) => {
                *left -= 1;
                let (item, role) = (**item, *role);
                self.begin(item, role, false, true, sink);
            }
        }
    }

    fn leave(&mut self, is_element: bool, sink: &mut dyn Sink) {
        self.levels.pop();
        if is_element {
            sink.shut();
        }
    }

    fn begin(&mut self, kind: Kind, role: Role, can_be_null: bool, is_element: bool, sink: &mut dyn Sink) {
        let length = |of, classic| State::Length {
            of,
            width: if self.flexible { 0 } else { classic },
        };
        self.state = match kind {
            Kind::Fixed(width) if role == Role::Other => State::Skip(width.into()),
            Kind::Fixed(width) => State::Number { role, width },
            Kind::Text => length(Of::Text(role), 2),
            Kind::Blob => length(Of::Blob(role), 4),
            Kind::List(item) => length(Of::List(role, item), 4),
            Kind::Struct(fields) if can_be_null => State::Presence { fields, is_element },
            Kind::Struct(fields) => {
                self.enter(fields, is_element, sink);
                State::Next
            }
        };
    }

    fn enter(&mut self, fields: &'static [Field], is_element: bool, sink: &mut dyn Sink) {
        if is_element {
            sink.open();
        }
        self.levels.push(Level::Struct {
            fields,
            next: 0,
            is_element,
        });
    }

    /// Takes at least one byte.
    fn take(&mut self, data: &mut &[u8], sink: &mut dyn Sink) -> Result<(), &'static str> {
        match self.state {
            State::Number { role, width } => {
                if let Some(value) = self.fixed(data, width) {
                    self.state = State::Next;
                    if width == 16 {
                        sink.uuid(role, value.to_be_bytes());
                    } else {
                        let value = signed(value, width);
                        if self.falls_back && role == Role::Error && value == UNSUPPORTED_VERSION {
                            self.levels.clear();
                            self.is_open = true;
                        }
                        sink.number(role, value);
                    }
                }
            }
            State::Skip(left) => {
                let taken = self.some(data, left);
                self.state = State::Skip(left - taken.len() as u64);
            }
            State::Length { of, width: 0 } => {
                if let Some(value) = self.varint(data)? {
                    self.length(of, value.checked_sub(1), sink)?;
                }
            }
            State::Length { of, width } => {
                if let Some(value) = self.fixed(data, width) {
                    let length = match signed(value, width) {
                        -1 => None,
                        length => Some(u64::try_from(length).map_err(|_| "a length below -1")?),
                    };
                    self.length(of, length, sink)?;
                }
            }
            State::Presence { fields, is_element } => {
                if let Some(value) = self.fixed(data, 1) {
                    self.state = State::Next;
                    if signed(value, 1) >= 0 {
                        self.enter(fields, is_element, sink);
                    }
                }
            }
            State::TagCount { fields, is_element } => {
                if let Some(count) = self.varint(data)? {
                    // Each takes two bytes at the least.
                    let left = u32::try_from(count)
                        .ok()
                        .filter(|_| count.saturating_mul(2) <= self.left)
                        .ok_or("more tagged fields than bytes")?;
                    self.levels.push(Level::Tags {
                        fields,
                        left,
                        is_element,
                    });
                    self.state = State::Next;
                }
            }
            State::TagNumber { fields } => {
                if let Some(number) = self.varint(data)? {
                    let version = self.version;
                    let is_it = |field: &&Field| {
                        field.tag >= 0 && i64::from(field.tag) == number.cast_signed() && field.is_in(version)
                    };
                    self.state = State::TagSize {
                        field: fields.iter().find(is_it),
                    };
                }
            }
            State::TagSize { field } => {
                if let Some(size) = self.varint(data)? {
                    if size > self.left {
                        return Err("a tagged field that is longer than its message");
                    }
                    match field {
                        Some(field) => {
                            self.begin(
                                field.kind,
                                field.role,
                                field.can_be_null(self.version),
                                false,
                                sink,
                            );
                        }
                        None => self.state = State::Skip(size),
                    }
                }
            }
            State::Text { role, left, is_whole } => {
                let taken = self.some(data, left);
                let room = if is_whole {
                    sink.room(role).saturating_sub(self.kept.len())
                } else {
                    0
                };
                self.kept.extend_from_slice(taken.get(..room).unwrap_or(taken));
                self.state = State::Text {
                    role,
                    left: left - taken.len() as u64,
                    is_whole: is_whole && taken.len() <= room,
                };
            }
            State::Records { left } => {
                let taken = self.some(data, left);
                sink.records_bytes(taken);
                self.state = State::Records {
                    left: left - taken.len() as u64,
                };
            }
            State::Next | State::Done | State::Broken => {}
        }
        Ok(())
    }

    fn end_text(&mut self, sink: &mut dyn Sink) {
        if let State::Text { role, is_whole, .. } = self.state {
            sink.text(role, &self.kept, is_whole);
        }
        self.kept.clear();
        self.state = State::Next;
    }

    /// A length was read; `None` is null.
    fn length(&mut self, of: Of, length: Option<u64>, sink: &mut dyn Sink) -> Result<(), &'static str> {
        self.state = State::Next;
        let Some(length) = length else { return Ok(()) };
        if length > self.left {
            return Err("a field that is longer than its message");
        }
        match of {
            Of::Text(Role::Other) | Of::Blob(Role::Other) => self.state = State::Skip(length),
            Of::Text(role) => {
                self.state = State::Text {
                    role,
                    left: length,
                    is_whole: true,
                };
            }
            Of::Blob(_) => {
                sink.records();
                self.state = State::Records { left: length };
            }
            Of::List(role, item) => self.levels.push(Level::List {
                item,
                role,
                left: length,
            }),
        }
        Ok(())
    }

    /// At most `length` bytes.
    fn some<'a>(&mut self, data: &mut &'a [u8], length: u64) -> &'a [u8] {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(data.len());
        let (taken, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
        *data = rest;
        self.left = self.left.saturating_sub(taken.len() as u64);
        taken
    }

    /// A big-endian number of `width` bytes, once it is whole.
    fn fixed(&mut self, data: &mut &[u8], width: u8) -> Option<u128> {
        while let (true, Some((byte, rest))) = (self.got < width, data.split_first()) {
            self.number = self.number << 8 | u128::from(*byte);
            self.got += 1;
            self.left = self.left.saturating_sub(1);
            *data = rest;
        }
        (self.got == width).then(|| {
            self.got = 0;
            std::mem::take(&mut self.number)
        })
    }

    /// An unsigned number of seven bits a byte, the lowest first, of at most 32 bits; once it is whole.
    fn varint(&mut self, data: &mut &[u8]) -> Result<Option<u64>, &'static str> {
        while let Some((byte, rest)) = data.split_first() {
            *data = rest;
            self.left = self.left.saturating_sub(1);
            self.number |= u128::from(byte & 0x7f) << (7 * u32::from(self.got));
            self.got += 1;
            if byte & 0x80 == 0 {
                self.got = 0;
                let value = std::mem::take(&mut self.number);
                return u32::try_from(value)
                    .map(|value| Some(value.into()))
                    .map_err(|_| "a number of more than 32 bits");
            }
            if self.got == 5 {
                return Err("a number of more than 32 bits");
            }
        }
        Ok(None)
    }
}

/// The signed number of `width` bytes.
fn signed(value: u128, width: u8) -> i64 {
    let unused = 64_u32.saturating_sub(8 * u32::from(width));
    let value = u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
    (value << unused).cast_signed() >> unused
}
