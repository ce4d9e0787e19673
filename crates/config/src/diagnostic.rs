//! Problems of a configuration file, and how they are shown.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::yaml::Span;

/// Whether a problem stops the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is used; the user should know.
    Warning,
    /// The configuration is refused.
    Error,
}

/// What is wrong, to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Not YAML.
    Syntax,
    /// Larger or deeper than allowed.
    TooLarge,
    /// A key the schema does not have here.
    UnknownKey,
    /// A key written twice in one mapping.
    DuplicateKey,
    /// For example a list where text is expected.
    WrongType,
    /// A name that is not one of the known ones.
    UnknownName,
    /// A name used twice where it must be unique.
    DuplicateName,
    /// A required key is absent.
    Missing,
    /// The right type, but not a valid value.
    Invalid,
    /// Known, but not implemented yet.
    NotAvailable,
    /// `version` is absent or not 2.
    Version,
    /// Accepted, but changes nothing.
    NoEffect,
}

/// One problem, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub problem: Problem,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// Place in the document such as `tap.endpoints[0].domain`; empty for the document itself.
    pub path: String,
    /// What was found, in one sentence.
    pub message: String,
    /// The names or values that are allowed, if they can be listed.
    pub allowed: Vec<String>,
    /// The allowed name nearest to the one found.
    pub suggestion: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Bytes of the text.
    pub(crate) bytes: Range<usize>,
}

impl Diagnostic {
    /// A problem whose allowed names and help are not told yet.
    pub(crate) fn new(problem: Problem, span: &Span, path: &str, message: String) -> Self {
        let severity = match problem {
            Problem::Version | Problem::NoEffect => Severity::Warning,
            _ => Severity::Error,
        };
        Self {
            severity,
            problem,
            line: span.line,
            column: span.column,
            path: path.to_owned(),
            message,
            allowed: Vec::new(),
            suggestion: None,
            help: None,
            bytes: span.bytes.clone(),
        }
    }
}

/// The problems of one file, with its text so that they can be shown in place. `Display` is [`render`](Self::render)
/// without colour.
#[derive(Clone, PartialEq, Eq)]
pub struct Diagnostics {
    name: Arc<str>,
    text: Arc<str>,
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn new(name: &str, text: &str, mut items: Vec<Diagnostic>) -> Self {
        // The order of the file, and one report for a node that is reached by several aliases.
        items.sort_by(|a, b| (a.bytes.start, &a.message).cmp(&(b.bytes.start, &b.message)));
        items.dedup_by(|a, b| a.bytes == b.bytes && a.message == b.message);
        Self {
            name: name.into(),
            text: text.into(),
            items,
        }
    }

    /// Name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of problems.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity == Severity::Error)
    }

    /// All problems with the lines they stand on, as compilers print them. Ends without a line feed; empty when there
    /// is no problem.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let reports: Vec<String> = self
            .items
            .iter()
            .map(|item| renderer.render(&[self.report(item)]))
            .collect();
        reports.join("\n\n")
    }

    fn report<'a>(&'a self, item: &'a Diagnostic) -> Group<'a> {
        let level = match item.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let label = item
            .suggestion
            .as_ref()
            .map(|name| format!("did you mean `{name}`?"));
        let annotation = AnnotationKind::Primary.span(self.visible(item));
        let annotation = match label {
            Some(label) => annotation.label(label),
            None => annotation,
        };
        let snippet = Snippet::source(&*self.text)
            .path(&*self.name)
            .annotation(annotation);
        let mut group = level.primary_title(item.message.as_str()).element(snippet);
        if !item.path.is_empty() {
            group = group.element(Level::NOTE.message(format!("at `{}`", item.path)));
        }
        if !item.allowed.is_empty() {
            group = group.element(Level::HELP.message(format!("allowed: {}", item.allowed.join(", "))));
        }
        if let Some(help) = &item.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }

    /// The first line of the place: a snippet of a whole block says less than its beginning.
    fn visible(&self, item: &Diagnostic) -> Range<usize> {
        let end = self
            .text
            .get(item.bytes.clone())
            .map_or(item.bytes.start, |text| {
                item.bytes.start + text.find(['\n', '\r']).unwrap_or(text.len())
            });
        item.bytes.start..end
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnostics")
            .field("name", &self.name)
            .field("items", &self.items)
            .finish()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostic {
    /// One line, for logs: `unknown key … (line 3, column 5, at …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {}", self.message, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, ", at {}", self.path)?;
        }
        f.write_str(")")
    }
}
