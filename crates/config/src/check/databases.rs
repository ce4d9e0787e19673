//! Databases and queues under `tap`: their stacks, and what is shown of their commands.

use std::collections::BTreeMap;

use super::tap::{stack_named, stack_of};
use crate::reader::{Checker, Fields, Known, Names};
use crate::schema::{DATABASES, DatabaseDetail, Values};

/// For what has keys.
const KEYED: &Names<Values> = &[
    ("full", Known::Ready(Values::Full)),
    ("keys", Known::Ready(Values::Keys)),
    ("none", Known::Ready(Values::None)),
];
/// For what has none.
const PLAIN: &Names<Values> = &[
    ("full", Known::Ready(Values::Full)),
    ("none", Known::Ready(Values::None)),
];

/// Keys of one, beside `stack`.
fn keys(name: &str) -> &'static [&'static str] {
    match name {
        "postgres" => &["stack", "values", "parameters", "split_statements"],
        "mysql" => &["stack", "values", "parameters"],
        _ => &["stack", "values"],
    }
}

/// Those that are named under `tap`: the stack of each, `None` for none, and what is shown.
pub(super) fn all(
    checker: &mut Checker,
    fields: &Fields<'_>,
    stacks: &[&str],
) -> BTreeMap<&'static str, (Option<String>, DatabaseDetail)> {
    let mut all = BTreeMap::new();
    for name in DATABASES {
        let Some(fields) = (fields.get(name)).and_then(|at| checker.fields(&at, keys(name))) else {
            continue;
        };
        let values = match *name {
            "redis" | "kafka" => KEYED,
            _ => PLAIN,
        };
        let flag = |checker: &mut Checker, key| fields.get(key).and_then(|at| checker.boolean(&at));
        let detail = DatabaseDetail {
            values: (fields.get("values"))
                .and_then(|at| checker.one_of(&at, "choice of values", values))
                .unwrap_or_default(),
            parameters: flag(checker, "parameters").unwrap_or_default(),
            split_statements: flag(checker, "split_statements").unwrap_or_default(),
        };
        let stack = (fields.get("stack")).and_then(|at| stack_named(checker, &at, stacks));
        all.insert(*name, (stack.flatten(), detail));
    }
    all
}

/// The stacks of those that are named for a domain; `None` for none.
pub(super) fn overrides(
    checker: &mut Checker,
    fields: &Fields<'_>,
    stacks: &[&str],
) -> BTreeMap<&'static str, Option<String>> {
    let named = DATABASES.iter().filter_map(|name| {
        let at = fields.get(name)?;
        Some((*name, stack_of(checker, &at, stacks)?))
    });
    named.collect()
}
