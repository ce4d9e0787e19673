//! Reads typed values out of the tree and collects what is wrong with them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::diagnostic::{Diagnostic, Problem};
use crate::suggest::nearest;
use crate::yaml::{Node, Span, Value, shown};

/// A node and how it was reached, such as `tap.endpoints[0]`.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: String,
}

/// What a known name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known<T> {
    /// This.
    Ready(T),
    /// Something whose implementation is not there yet.
    NotYet,
}

/// Names of one kind and what they stand for. Listed to the user in this order.
pub(crate) type Names<T> = [(&'static str, Known<T>)];

/// The entries of a mapping whose keys are known.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    entries: Vec<(&'a str, &'a Span, At<'a>)>,
}

impl<'a> Fields<'a> {
    /// Those of an absent mapping.
    pub(crate) fn empty() -> Self {
        Self { entries: Vec::new() }
    }

    /// Those of a mapping whose keys are not checked.
    pub(crate) fn of(entries: Vec<(&'a str, &'a Span, At<'a>)>) -> Self {
        Self { entries }
    }

    /// The value under a key; `None` if it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<At<'a>> {
        self.entries
            .iter()
            .find(|(name, _, at)| *name == key && !at.node.is_null())
            .map(|(_, _, at)| at.clone())
    }

    /// Place of a key, whatever its value.
    pub(crate) fn key_span(&self, key: &str) -> Option<&'a Span> {
        self.entries
            .iter()
            .find(|(name, _, _)| *name == key)
            .map(|(_, span, _)| *span)
    }
}

/// Collects problems.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    former: Vec<Diagnostic>,
    /// The newest, which its reporter may still complete.
    newest: Option<Diagnostic>,
}

impl Checker {
    /// A report to be completed by the caller.
    pub(crate) fn report(
        &mut self,
        problem: Problem,
        span: &Span,
        path: &str,
        message: String,
    ) -> &mut Diagnostic {
        self.former.extend(self.newest.take());
        self.newest.insert(Diagnostic::new(problem, span, path, message))
    }

    /// Everything reported, in the order of the reports.
    pub(crate) fn into_found(mut self) -> Vec<Diagnostic> {
        self.former.extend(self.newest);
        self.former
    }

    pub(crate) fn error(&mut self, problem: Problem, at: &At<'_>, message: String) -> &mut Diagnostic {
        self.report(problem, &at.node.span, &at.path, message)
    }

    /// For parts of the schema that are known but not implemented.
    pub(crate) fn not_available(&mut self, at: &At<'_>, what: &str, verb: &str) {
        self.error(
            Problem::NotAvailable,
            at,
            format!("{what} {verb} not available yet"),
        );
    }

    fn wrong_type(&mut self, at: &At<'_>, expected: &str) -> &mut Diagnostic {
        let message = format!("expected {expected}, found {}", describe(at.node));
        self.error(Problem::WrongType, at, message)
    }

    /// The entries of a mapping whose keys are chosen by the user; repeated keys are reported.
    pub(crate) fn entries<'a>(
        &mut self,
        at: &At<'a>,
        expected: &str,
    ) -> Option<Vec<(&'a str, &'a Span, At<'a>)>> {
        let Value::Mapping(entries) = &at.node.value else {
            self.wrong_type(at, expected);
            return None;
        };
        let mut seen: HashMap<&str, &Span> = HashMap::new();
        let mut out = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key_at = At {
                node: key,
                path: at.path.clone(),
            };
            let Some(name) = key.text() else {
                self.wrong_type(&key_at, "text as a key");
                continue;
            };
            let path = joined(&at.path, name);
            if let Some(first) = seen.insert(name, &key.span) {
                let message = format!("the key `{}` is already on line {}", shown(name), first.line);
                self.report(Problem::DuplicateKey, &key.span, &path, message);
                continue;
            }
            out.push((name, &key.span, At { node: value, path }));
        }
        Some(out)
    }

    /// The entries of a mapping with a fixed set of keys; unknown and repeated ones are reported.
    pub(crate) fn fields<'a>(&mut self, at: &At<'a>, allowed: &[&str]) -> Option<Fields<'a>> {
        let entries = self.entries(at, "a mapping")?;
        for (name, span, value) in &entries {
            if !allowed.contains(name) {
                let message = format!("unknown key `{}`", shown(name));
                let problem = self.report(Problem::UnknownKey, span, &value.path, message);
                problem.suggestion = nearest(name, allowed.iter().copied()).map(shown);
                // The file's own names may be among them.
                problem.allowed = allowed.iter().map(|name| shown(name)).collect();
            }
        }
        Some(Fields { entries })
    }

    /// The items of a list.
    pub(crate) fn items<'a>(&mut self, at: &At<'a>) -> Vec<At<'a>> {
        let Value::Sequence(items) = &at.node.value else {
            self.wrong_type(at, "a list");
            return Vec::new();
        };
        let item = |(index, node): (usize, &'a Rc<Node>)| At {
            node,
            path: format!("{}[{index}]", at.path),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Text. A number or a boolean without quotes is refused: it may not be what was meant (`1.10`, `no`).
    pub(crate) fn text<'a>(&mut self, at: &At<'a>) -> Option<&'a str> {
        match &at.node.value {
            Value::Scalar { text, plain } if !plain || Plain::of(text) == Plain::Text => Some(text),
            Value::Scalar { text, .. } if !at.node.is_null() => {
                let help = format!("put it in quotes: \"{}\"", shown(text));
                self.wrong_type(at, "text").help = Some(help);
                None
            }
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => {
                self.wrong_type(at, "text");
                None
            }
        }
    }

    /// Text that must not be empty.
    pub(crate) fn name<'a>(&mut self, at: &At<'a>) -> Option<&'a str> {
        let text = self.text(at)?;
        if text.trim().is_empty() {
            self.error(Problem::Invalid, at, "this must not be empty".to_owned());
            return None;
        }
        Some(text)
    }

    /// `true` or `false`, with YAML 1.1's other words for them, which existing files use.
    pub(crate) fn boolean(&mut self, at: &At<'_>) -> Option<bool> {
        if let Value::Scalar { text, plain: true } = &at.node.value {
            match text.as_str() {
                "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(true),
                "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
                    return Some(false);
                }
                _ => {}
            }
        }
        self.wrong_type(at, "true or false");
        None
    }

    /// A whole number between two bounds, inclusive.
    pub(crate) fn whole(&mut self, at: &At<'_>, least: u32, most: u32) -> Option<u32> {
        let number = match &at.node.value {
            Value::Scalar { text, plain: true } if Plain::of(text) == Plain::Number => {
                text.parse::<i64>().ok()
            }
            _ => None,
        };
        let Some(number) = number else {
            self.wrong_type(at, "a whole number");
            return None;
        };
        let inside = u32::try_from(number)
            .ok()
            .filter(|number| (least..=most).contains(number));
        if inside.is_none() {
            self.error(
                Problem::Invalid,
                at,
                format!("{number} is not between {least} and {most}"),
            );
        }
        inside
    }

    /// One of the known names.
    pub(crate) fn one_of<T: Copy>(&mut self, at: &At<'_>, kind: &str, names: &Names<T>) -> Option<T> {
        let found = self.text(at)?;
        match lookup(names, found) {
            Some(Known::Ready(value)) => Some(value),
            Some(Known::NotYet) => {
                self.not_available(at, &format!("{kind} `{}`", shown(found)), "is");
                None
            }
            None => {
                self.unknown_name(at, kind, names.iter().map(|(name, _)| *name));
                None
            }
        }
    }

    /// Reports a name that is none of the candidates.
    pub(crate) fn unknown_name<'n>(
        &mut self,
        at: &At<'_>,
        kind: &str,
        candidates: impl IntoIterator<Item = &'n str> + Clone,
    ) -> &mut Diagnostic {
        let found = at.node.text().unwrap_or_default();
        let suggestion = nearest(found, candidates.clone()).map(shown);
        let allowed = candidates.into_iter().map(shown).collect();
        let report = self.error(
            Problem::UnknownName,
            at,
            format!("unknown {kind} `{}`", shown(found)),
        );
        report.suggestion = suggestion;
        report.allowed = allowed;
        report
    }

    /// A required key.
    pub(crate) fn required<'a>(&mut self, fields: &Fields<'a>, parent: &At<'a>, key: &str) -> Option<At<'a>> {
        let value = fields.get(key);
        if value.is_none() {
            // An empty value is pointed at by its key, an absent one by the mapping that lacks it.
            let span = fields.key_span(key).unwrap_or(&parent.node.span);
            let path = joined(&parent.path, key);
            self.report(Problem::Missing, span, &path, format!("`{key}` is missing"));
        }
        value
    }

    /// Refuses a list that is not empty.
    pub(crate) fn empty_list(&mut self, value: Option<At<'_>>, what: &str) {
        if let Some(at) = value
            && !self.items(&at).is_empty()
        {
            self.not_available(&at, what, "are");
        }
    }
}

/// What a known name stands for.
pub(crate) fn lookup<T: Copy>(names: &Names<T>, found: &str) -> Option<Known<T>> {
    names
        .iter()
        .find(|(name, _)| *name == found)
        .map(|(_, known)| *known)
}

/// `parent.key`, with quotes when the key would not read as one word.
pub(crate) fn joined(parent: &str, key: &str) -> String {
    let simple = !key.is_empty()
        && key
            .chars()
            .all(|char| char.is_alphanumeric() || matches!(char, '_' | '-'));
    let key = if simple {
        shown(key)
    } else {
        format!("\"{}\"", shown(key))
    };
    if parent.is_empty() {
        key
    } else {
        format!("{parent}.{key}")
    }
}

/// What a scalar without quotes is (YAML 1.2 core schema).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Null,
    Boolean,
    Number,
    Text,
}

impl Plain {
    fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Self::Boolean,
            ".inf" | ".Inf" | ".INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan" | ".NaN" | ".NAN" => Self::Number,
            _ if is_number(text) => Self::Number,
            _ => Self::Text,
        }
    }
}

fn is_number(text: &str) -> bool {
    let radix =
        |digits: &str, radix: u32| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    // Rust also reads `inf` and `nan`, which are words in YAML.
    unsigned.starts_with(|char: char| char.is_ascii_digit() || char == '.') && unsigned.parse::<f64>().is_ok()
}

/// What a node is, for people.
fn describe(node: &Node) -> String {
    match &node.value {
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Scalar { text, plain } => match (Plain::of(text), plain) {
            (Plain::Null, true) => "nothing".to_owned(),
            (Plain::Boolean, true) => format!("the boolean {text}"),
            (Plain::Number, true) => format!("the number {}", shown(text)),
            _ => format!("the text \"{}\"", shown(text)),
        },
    }
}
