//! `services`: event and object stores.

use std::collections::HashMap;

use crate::diagnostic::Problem;
use crate::reader::{At, Checker, Fields, Known, Names, lookup};
use crate::schema::{EventStore, ObjectStore, Services, StoreKind};
use crate::yaml::shown;

const EVENT_STORES: &Names<StoreKind> = &[
    ("stdout", Known::Ready(StoreKind::Stdout)),
    ("disabled", Known::Ready(StoreKind::Disabled)),
    ("axiom", Known::NotYet),
    ("otel", Known::NotYet),
    ("pulse", Known::NotYet),
    ("pulse-streaming", Known::NotYet),
    ("pulse-legacy", Known::NotYet),
];

const OBJECT_STORES: &Names<StoreKind> = &[
    ("stdout", Known::Ready(StoreKind::Stdout)),
    ("disabled", Known::Ready(StoreKind::Disabled)),
    ("s3", Known::NotYet),
    ("otel", Known::NotYet),
    ("qpoint", Known::NotYet),
];

/// Resolved stores, and what other sections may refer to.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) services: Services,
    /// Whether the file lists object stores at all.
    pub(super) has_object_stores: bool,
    /// Every object store id of the file, with its index if the store itself was right.
    pub(super) object_ids: Vec<(String, Option<usize>)>,
}

pub(super) fn check(checker: &mut Checker, value: Option<At<'_>>) -> Checked {
    let mut services = Services::default();
    let mut object_ids = Vec::new();
    let mut has_object_stores = false;
    if let Some(at) = value
        && let Some(fields) = checker.fields(&at, &["event_stores", "object_stores", "qscan"])
    {
        let mut event_ids: Vec<(String, Option<usize>)> = Vec::new();
        for item in list(checker, &fields, "event_stores") {
            let (id, kind) = store(checker, &item, EVENT_STORES, "event store", &["type", "id"]);
            if let Some(kind) = kind {
                services.event_stores.push(EventStore { id: id.clone(), kind });
            }
            event_ids.extend(id.map(|id| (id, kind.map(|_| services.event_stores.len() - 1))));
        }
        let stores = list(checker, &fields, "object_stores");
        has_object_stores = !stores.is_empty();
        for item in stores {
            let (id, kind) = store(
                checker,
                &item,
                OBJECT_STORES,
                "object store",
                &["type", "id", "event_store"],
            );
            if let Some(kind) = kind {
                let event_store = event_store_of(checker, &item, &event_ids);
                services.object_stores.push(ObjectStore {
                    id: id.clone(),
                    kind,
                    event_store,
                });
            }
            object_ids.extend(id.map(|id| (id, kind.map(|_| services.object_stores.len() - 1))));
        }
        if let Some(at) = fields.get("qscan") {
            qscan(checker, &at);
        }
    }
    Checked {
        services: or_disabled(services),
        has_object_stores,
        object_ids,
    }
}

/// An empty list is one `disabled` store, so that the default store is always the first.
pub(super) fn or_disabled(mut services: Services) -> Services {
    if services.event_stores.is_empty() {
        services.event_stores.push(EventStore {
            id: None,
            kind: StoreKind::Disabled,
        });
    }
    if services.object_stores.is_empty() {
        services.object_stores.push(ObjectStore {
            id: None,
            kind: StoreKind::Disabled,
            event_store: None,
        });
    }
    services
}

/// Items of a list of stores; an id used twice is reported.
fn list<'a>(checker: &mut Checker, fields: &Fields<'a>, key: &str) -> Vec<At<'a>> {
    let items = fields.get(key).map(|at| checker.items(&at)).unwrap_or_default();
    let mut lines: HashMap<&str, usize> = HashMap::new();
    for item in &items {
        let Some(id) = child(item, "id") else { continue };
        let Some(name) = id.node.text() else { continue };
        if let Some(line) = lines.insert(name, id.node.span.line) {
            let message = format!("the id `{}` is already used on line {line}", shown(name));
            checker.error(Problem::DuplicateName, &id, message);
        }
    }
    items
}

/// Id and kind of a store. The other keys of a store that is not available yet are not looked at.
fn store(
    checker: &mut Checker,
    item: &At<'_>,
    kinds: &Names<StoreKind>,
    what: &str,
    keys: &[&str],
) -> (Option<String>, Option<StoreKind>) {
    let known = child(item, "type").and_then(|at| lookup(kinds, at.node.text()?));
    let fields = match known {
        Some(Known::NotYet) => checker.entries(item, "a mapping").map(Fields::of),
        Some(Known::Ready(_)) | None => checker.fields(item, keys),
    };
    let Some(fields) = fields else { return (None, None) };
    let id = fields
        .get("id")
        .and_then(|at| checker.name(&at))
        .map(str::to_owned);
    let kind = checker
        .required(&fields, item, "type")
        .and_then(|at| checker.one_of(&at, what, kinds));
    (id, kind)
}

/// Index of the event store that takes the records of an object store; the first one unless said otherwise.
fn event_store_of(checker: &mut Checker, item: &At<'_>, ids: &[(String, Option<usize>)]) -> Option<usize> {
    match child(item, "event_store").map(|at| reference(checker, &at, "event store", ids)) {
        None | Some(Reference::Default) => Some(0),
        Some(Reference::Index(index)) => index,
        Some(Reference::Disabled) => None,
    }
}

/// What an `{id, disabled}` mapping selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Default,
    /// `None` when the store has errors of its own.
    Index(Option<usize>),
    Disabled,
}

/// Resolves an `{id, disabled}` mapping.
pub(super) fn reference(
    checker: &mut Checker,
    at: &At<'_>,
    what: &str,
    ids: &[(String, Option<usize>)],
) -> Reference {
    let Some(fields) = checker.fields(at, &["id", "disabled"]) else {
        return Reference::Default;
    };
    let disabled = fields
        .get("disabled")
        .and_then(|at| checker.boolean(&at))
        .unwrap_or(false);
    if disabled {
        // The id of a disabled reference need not exist.
        return Reference::Disabled;
    }
    let Some(at) = fields.get("id") else {
        return Reference::Default;
    };
    let Some(name) = checker.name(&at) else {
        return Reference::Default;
    };
    match ids.iter().find(|(id, _)| id == name) {
        Some((_, index)) => Reference::Index(*index),
        None => {
            let report = checker.unknown_name(&at, what, ids.iter().map(|(id, _)| id.as_str()));
            if report.allowed.is_empty() {
                report.help = Some(format!("no {what} of this file has an id"));
            }
            Reference::Default
        }
    }
}

/// The value of a key, before the mapping has been checked.
fn child<'a>(at: &At<'a>, key: &str) -> Option<At<'a>> {
    let crate::yaml::Value::Mapping(entries) = &at.node.value else {
        return None;
    };
    let (_, node) = entries
        .iter()
        .find(|(name, value)| name.text() == Some(key) && !value.is_null())?;
    Some(At {
        node,
        path: crate::reader::joined(&at.path, key),
    })
}

/// The scanner service of older files; only its absence can be asked for.
fn qscan(checker: &mut Checker, at: &At<'_>) {
    let is_disabled = child(at, "type").is_some_and(|kind| kind.node.text() == Some("disabled"));
    if !is_disabled {
        checker.not_available(at, "service `qscan`", "is");
    }
}
