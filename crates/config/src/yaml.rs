//! YAML text to a tree in which every node knows its place in the text.
//!
//! Aliases share their node, and merge keys (`<<`) are applied here, so the checks never see either. Hostile
//! documents are bounded: depth by [`MAX_DEPTH`], size after expansion of aliases by [`MAX_NODES`].

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as YamlSpan, Tag};

/// Nesting allowed; the schema needs nine levels.
pub(crate) const MAX_DEPTH: usize = 64;
/// Nodes allowed after aliases are expanded, so that a few lines of aliases cannot cost gigabytes.
pub(crate) const MAX_NODES: usize = 100_000;

/// A place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// In the text, on character boundaries.
    pub(crate) bytes: Range<usize>,
}

/// A node of the tree.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
    /// Nodes below, aliases expanded, and this one.
    weight: usize,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// Text as written, and whether it stood without quotes and tag.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Rc<Node>>),
    /// Key and value, in order; a key may repeat.
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
}

/// Why there is no tree.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) too_large: bool,
}

impl Node {
    /// Absent, or one of YAML's words for it.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }
}

/// The document's root; `None` for an empty document.
pub(crate) fn compose(text: &str) -> Result<Option<Rc<Node>>, Fault> {
    let places = Places::new(text);
    let mut composer = Composer::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Fault {
            span: places.point(error.marker()),
            message: error.info().to_owned(),
            // The parser has a bound of its own for nested flow collections, and reads ahead of its events.
            too_large: error.info().contains("recursion limit"),
        })?;
        composer.event(event, places.span(&span))?;
    }
    Ok(composer.root)
}

/// Turns the parser's positions, counted in characters, into bytes.
struct Places<'a> {
    text: &'a str,
    /// Where the text ends but for white space. What the parser finds missing at the end is reported here, at the
    /// last thing that was written.
    end: usize,
    /// Byte of each character; empty when every character is one byte.
    bytes: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).collect()
        };
        Self {
            text,
            end: text.trim_end_matches([' ', '\t', '\n', '\r']).len(),
            bytes,
        }
    }

    fn byte(&self, marker: &saphyr_parser::Marker) -> usize {
        let index = marker.index();
        let byte = if self.bytes.is_empty() {
            index
        } else {
            self.bytes.get(index).copied().unwrap_or(self.end)
        };
        byte.min(self.end)
    }

    fn point(&self, marker: &saphyr_parser::Marker) -> Span {
        let at = self.byte(marker);
        if at < self.end {
            return Span {
                line: marker.line(),
                column: marker.col() + 1,
                bytes: at..at,
            };
        }
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind(['\n', '\r']).map_or(0, |at| at + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count()) + 1;
        let line = before.replace("\r\n", "\n").matches(['\n', '\r']).count() + 1;
        Span {
            line,
            column,
            bytes: at..at,
        }
    }

    fn span(&self, span: &YamlSpan) -> Span {
        let start = self.point(&span.start);
        let end = self.byte(&span.end).max(start.bytes.start);
        Span {
            bytes: start.bytes.start..end,
            ..start
        }
    }
}

/// A collection whose end has not come.
struct Open {
    span: Span,
    anchor: usize,
    is_mapping: bool,
    children: Vec<Rc<Node>>,
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    documents: usize,
    root: Option<Rc<Node>>,
}

impl Composer {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(fault(span, "one document is expected, found a second one"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_text_tag(tag.as_deref(), &span)?;
                self.add(
                    Node {
                        span,
                        value: Value::Scalar {
                            text: text.into_owned(),
                            plain,
                        },
                        weight: 1,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => self.begin(span, anchor, tag.as_deref(), false),
            Event::MappingStart(anchor, tag) => self.begin(span, anchor, tag.as_deref(), true),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).map(Rc::clone) else {
                    return Err(fault(span, "this alias stands inside the node it refers to"));
                };
                self.attach(node, &span)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, span: Span, anchor: usize, tag: Option<&Tag>, is_mapping: bool) -> Result<(), Fault> {
        is_text_tag(tag, &span)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault {
                span,
                message: format!("nested more than {MAX_DEPTH} levels deep"),
                too_large: true,
            });
        }
        self.open.push(Open {
            span,
            anchor,
            is_mapping,
            children: Vec::new(),
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = if open.is_mapping {
            merged(pairs(open.children))?
        } else {
            Value::Sequence(open.children)
        };
        let weight = match &value {
            Value::Scalar { .. } => 1,
            Value::Sequence(items) => items
                .iter()
                .fold(1, |sum: usize, item| sum.saturating_add(item.weight)),
            Value::Mapping(entries) => entries.iter().fold(1, |sum: usize, (key, value)| {
                sum.saturating_add(key.weight).saturating_add(value.weight)
            }),
        };
        self.add(
            Node {
                span: open.span,
                value,
                weight,
            },
            open.anchor,
        )
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        let span = node.span.clone();
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node, &span)
    }

    fn attach(&mut self, node: Rc<Node>, at: &Span) -> Result<(), Fault> {
        if node.weight > MAX_NODES {
            return Err(Fault {
                span: at.clone(),
                message: format!("this grows to more than {MAX_NODES} nodes once aliases are expanded"),
                too_large: true,
            });
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

fn fault(span: Span, message: &str) -> Fault {
    Fault {
        span,
        message: message.to_owned(),
        too_large: false,
    }
}

/// Keys and values arrive in turn.
fn pairs(children: Vec<Rc<Node>>) -> Vec<(Rc<Node>, Rc<Node>)> {
    let mut children = children.into_iter();
    std::iter::from_fn(|| Some((children.next()?, children.next()?))).collect()
}

/// Applies `<<`: keys written here win over merged ones, and earlier merged mappings over later ones.
fn merged(entries: Vec<(Rc<Node>, Rc<Node>)>) -> Result<Value, Fault> {
    let is_merge = |key: &Node| matches!(&key.value, Value::Scalar { text, plain: true } if text == "<<");
    let (merges, mut entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| is_merge(key));
    let mut seen: HashSet<String> = entries
        .iter()
        .filter_map(|(key, _)| key.text().map(str::to_owned))
        .collect();
    for (_, source) in merges {
        let sources = match &source.value {
            Value::Sequence(items) => items.clone(),
            Value::Mapping(_) | Value::Scalar { .. } => vec![source],
        };
        for source in sources {
            let Value::Mapping(inherited) = &source.value else {
                return Err(fault(
                    source.span.clone(),
                    "only a mapping can be merged with `<<`",
                ));
            };
            for (key, value) in inherited {
                if key.text().is_some_and(|text| seen.insert(text.to_owned())) {
                    entries.push((Rc::clone(key), Rc::clone(value)));
                }
            }
        }
    }
    Ok(Value::Mapping(entries))
}

/// Whether a tag makes its scalar text. Tags other than YAML's own are refused: nothing here gives them a meaning.
fn is_text_tag(tag: Option<&Tag>, span: &Span) -> Result<bool, Fault> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
        Some(tag) => Err(fault(
            span.clone(),
            &format!("the tag `{}` has no meaning here", shown(&tag.to_string())),
        )),
    }
}

/// Text from the file as it may be printed: control characters escaped, length bounded.
pub(crate) fn shown(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    let mut out: String = text
        .chars()
        .take(MAX_SHOWN)
        .flat_map(|char| {
            let escaped = if char.is_control() {
                Some(char.escape_default())
            } else {
                None
            };
            let plain = if escaped.is_none() { Some(char) } else { None };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        out.push('…');
    }
    out
}
