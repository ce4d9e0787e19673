//! rustls: always linked into the program, often stripped, and of an ABI that no two compilers share.
//!
//! TLS 1.3: the key-log labels are reached through a table of pointers, and one function refers to the first of its slots:
//! `KeySchedule::derive_logged_secret`. *Measured* (rustls 0.23 with ring and with aws-lc-rs, with symbols, stripped, with fat LTO;
//! Deno 2.9): one reference in each.
//!
//! TLS 1.2: one function refers to the text `key expansion`: `ConnectionSecrets::make_key_block`.

use memchr::memmem::Finder;
use qtap_capture::Hook;

use super::{Backend, Findings, Source};
use crate::elf::{Elf, ElfError};
use crate::implementation::Implementation;
use crate::xref;

pub(super) const BACKEND: Backend = Backend {
    implementation: Implementation::Rustls,
    crypto: None,
    find,
};

const KEY_EXPANSION: &[u8] = b"key expansion";
/// Copies of a text that are followed.
const MAX_TEXTS: usize = 64;

fn find(source: &Source<'_, '_>, findings: &mut Findings) {
    let elf = source.elf;
    let derive = slots(source).and_then(|slots| only_user(elf, &slots, "the table of key-log labels"));
    let is_found = matches!(derive, Ok(Ok(_)));
    findings.inferred(Hook::RustlsDerive, "derive_logged_secret", derive);
    // Others have that text too, this agent among them; no rustls is without TLS 1.3.
    if !is_found {
        return;
    }
    let key_block = texts(elf).and_then(|texts| only_user(elf, &texts, "the text `key expansion`"));
    findings.inferred(Hook::RustlsKeyBlock, "make_key_block", key_block);
}

/// Where tables of key-log labels begin.
fn slots(source: &Source<'_, '_>) -> Result<Vec<u64>, ElfError> {
    let texts = source.texts.unterminated_early.iter();
    let slots = texts.map(|text| xref::slots_of(source.elf, *text));
    Ok(slots.collect::<Result<Vec<_>, _>>()?.concat())
}

fn texts(elf: &Elf<'_>) -> Result<Vec<u64>, ElfError> {
    let finder = Finder::new(KEY_EXPANSION);
    let mut texts = Vec::new();
    for segment in elf.text_segments() {
        elf.windows(segment, KEY_EXPANSION.len(), |base, bytes, fresh| {
            let hits = finder.find_iter(bytes).take_while(|at| *at < fresh);
            texts.extend(hits.map(|at| base + at as u64).take(MAX_TEXTS));
        })?;
    }
    texts.truncate(MAX_TEXTS);
    Ok(texts)
}

/// The one function that refers to one of `addresses`; or why there is none.
fn only_user(elf: &Elf<'_>, addresses: &[u64], what: &str) -> Result<Result<u64, String>, ElfError> {
    if addresses.is_empty() {
        return Ok(Err(format!("{what} is not in the file")));
    }
    let targets: Vec<((), u64)> = addresses.iter().map(|address| ((), *address)).collect();
    let mut functions = Vec::new();
    let references = xref::references(elf, &targets)?;
    for reference in &references {
        if let Some(start) = xref::function_start(elf, reference.next_instruction)? {
            functions.push(start);
        }
    }
    functions.sort_unstable();
    functions.dedup();
    Ok(match *functions {
        [function] => Ok(function),
        _ => Err(format!(
            "{what} is used by {} functions, not one ({} references)",
            functions.len(),
            references.len()
        )),
    })
}
