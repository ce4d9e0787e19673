//! Commands as they are sent, credentials masked, and values where the user wants none (P-R5).

use super::keys::{Keys, is_container, keys};
use super::reader::{INLINE, Sink};
use crate::command::shown;
use crate::{Command, CommandText, HIDDEN, REDACTED, Session, Values};

/// Arguments kept of a command; further ones are counted.
const ARGUMENTS: usize = 1024;

/// One argument.
#[derive(Clone, Debug, Default)]
pub(super) struct Argument {
    /// Its beginning.
    pub(super) kept: Vec<u8>,
    pub(super) total: u64,
    pub(super) missing: u64,
}

impl Argument {
    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0 && self.kept.len() as u64 == self.total
    }
}

/// Collects the arguments of one command.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) arguments: Vec<Argument>,
    /// How many there are, kept or not.
    pub(super) count: u64,
    /// It came as a line.
    pub(super) is_inline: bool,
    room: usize,
    limit: usize,
}

impl Request {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            arguments: Vec::new(),
            count: 0,
            is_inline: false,
            room: limit,
            limit,
        }
    }

    /// Forgets the command.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Bytes held.
    pub(super) const fn held(&self) -> usize {
        self.limit - self.room
    }

    /// The name in capitals; empty when it could not be learned.
    pub(super) fn name(&self) -> String {
        self.word(0).unwrap_or_default()
    }

    /// An argument as a word in capitals, if all of it is there.
    pub(super) fn word(&self, index: usize) -> Option<String> {
        let argument = self.arguments.get(index).filter(|argument| argument.is_whole())?;
        let is_word = argument.total <= 64 && argument.kept.iter().all(u8::is_ascii_graphic);
        is_word.then(|| String::from_utf8_lossy(&argument.kept).to_ascii_uppercase())
    }

    /// An argument as text, if all of it is there.
    pub(super) fn text(&self, index: usize) -> Option<String> {
        let argument = self.arguments.get(index).filter(|argument| argument.is_whole())?;
        std::str::from_utf8(&argument.kept).ok().map(str::to_owned)
    }

    /// An inline command: words between white space, in quotes if they hold any (`sdssplitargs` of Redis). `None` when the line is
    /// no text.
    pub(super) fn split_inline(&mut self) -> Option<()> {
        let line = self.arguments.pop()?;
        self.clear();
        let words = split(&line.kept)?;
        for word in words {
            self.add(&word, word.len() as u64, 0);
        }
        Some(())
    }

    fn add(&mut self, data: &[u8], total: u64, missing: u64) {
        self.count += 1;
        if self.arguments.len() >= ARGUMENTS {
            return;
        }
        let kept = data.get(..self.room.min(data.len())).unwrap_or_default().to_vec();
        self.room -= kept.len();
        self.arguments.push(Argument { kept, total, missing });
    }

    fn shows(&self, values: Values) -> Shows {
        if values == Values::Full {
            return Shows {
                first: usize::MAX,
                keys: None,
            };
        }
        let name = self.name();
        let is_subcommand = is_container(&name) && self.word(1).is_some();
        Shows {
            first: if is_subcommand { 2 } else { 1 },
            keys: (values == Values::Keys).then(|| keys(&name, self)),
        }
    }

    /// The command, what is secret in it masked, and values hidden as the user wants.
    pub(super) fn command(&self, session: Session, values: Values) -> Command {
        let masks = masks(self);
        let shows = self.shows(values);
        let mut truncated = self.arguments.len() as u64 != self.count;
        let words = self.arguments.iter().enumerate().map(|(index, argument)| {
            if masks.hides(index) {
                return REDACTED.to_owned();
            }
            if !shows.has(index) {
                return HIDDEN.to_owned();
            }
            truncated |= argument.kept.len() as u64 + argument.missing < argument.total;
            shown(&argument.kept, usize::MAX).0
        });
        let words: Vec<String> = words.collect();
        let has_name = self.arguments.first().is_some_and(Argument::is_whole);
        Command {
            name: words.first().filter(|_| has_name).cloned().unwrap_or_default(),
            text: CommandText::Words(words),
            prepared: None,
            parameters: Vec::new(),
            session,
            truncated,
            redacted: masks != Masks::Nothing,
        }
    }
}

/// Which arguments are shown.
#[derive(Clone, Copy, Debug)]
struct Shows {
    /// So many from the name on.
    first: usize,
    keys: Option<Keys>,
}

impl Shows {
    fn has(self, index: usize) -> bool {
        index < self.first || self.keys.is_some_and(|keys| keys.has(index))
    }
}

impl Sink for Request {
    fn room(&self) -> usize {
        if self.arguments.len() < ARGUMENTS {
            self.room
        } else {
            0
        }
    }

    fn open(&mut self, _kind: u8, _length: Option<u64>, _depth: usize) {}

    fn leaf(&mut self, kind: u8, data: &[u8], total: u64, missing: u64, depth: usize) {
        self.is_inline |= kind == INLINE;
        if kind == INLINE || depth > 0 {
            self.add(data, total, missing);
        }
    }

    fn shut(&mut self) {}
}

/// Which arguments are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Masks {
    Nothing,
    /// All from this one on.
    From(usize),
    /// So many from this one on.
    Some(usize, usize),
    /// Every second from this one on.
    Alternate(usize),
}

impl Masks {
    const fn hides(self, index: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::From(first) => index >= first,
            Self::Some(first, count) => index >= first && index - first < count,
            Self::Alternate(first) => index >= first && (index - first).is_multiple_of(2),
        }
    }
}

/// Where the credentials of a command are. When in doubt, because something of it is missing, more is masked.
fn masks(request: &Request) -> Masks {
    let count = request.arguments.len();
    let masks = match request.name().as_str() {
        "" => Masks::From(0),
        "AUTH" => Masks::From(1),
        // HELLO [version [AUTH user password] [SETNAME name]]
        "HELLO" => match request.word(2).as_deref() {
            Some("SETNAME") if count == 4 => Masks::Nothing,
            _ => Masks::From(2),
        },
        "ACL" => match request.word(1).as_deref() {
            Some("SETUSER") => Masks::From(3),
            Some("WHOAMI" | "LIST" | "USERS" | "CAT" | "GETUSER" | "DELUSER" | "LOG" | "LOAD" | "SAVE") => {
                Masks::Nothing
            }
            _ => Masks::From(2),
        },
        "CONFIG" => match request.word(1).as_deref() {
            Some("GET" | "RESETSTAT" | "REWRITE" | "HELP") => Masks::Nothing,
            Some("SET") => Masks::Alternate(3),
            _ => Masks::From(2),
        },
        "MIGRATE" => {
            match (5..count).find(|&index| request.word(index).is_none_or(|word| word.starts_with("AUTH"))) {
                Some(index) if request.word(index).as_deref() == Some("AUTH") => Masks::Some(index + 1, 1),
                Some(index) if request.word(index).as_deref() == Some("AUTH2") => Masks::Some(index + 1, 2),
                Some(index) => Masks::From(index),
                None => Masks::Nothing,
            }
        }
        "SENTINEL" => match request.word(1).as_deref() {
            Some("SET" | "CONFIG") => Masks::From(3),
            _ => Masks::Nothing,
        },
        // `MODULE LOADEX path CONFIG name value …`
        "MODULE" => Masks::From(3),
        _ => Masks::Nothing,
    };
    let hides_any = (0..count).any(|index| masks.hides(index));
    if hides_any { masks } else { Masks::Nothing }
}

/// Words of an inline command.
fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    loop {
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        if bytes.peek().is_none() {
            return Some(words);
        }
        let mut word = Vec::new();
        let mut quote = None;
        while let Some(byte) = bytes.next() {
            match (quote, byte) {
                (None, byte) if byte.is_ascii_whitespace() => break,
                (None, b'"' | b'\'') if word.is_empty() => quote = Some(byte),
                (Some(b'"'), b'\\') => word.push(match bytes.next()? {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                }),
                (Some(quote), byte) if byte == quote => break,
                // Text, if in whatever encoding: a control character is none.
                (_, byte) if byte < b' ' || byte == 0x7f => return None,
                (_, byte) => word.push(byte),
            }
        }
        words.push(word);
    }
}
