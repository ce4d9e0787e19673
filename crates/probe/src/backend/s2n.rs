//! s2n-tls: linked into what uses it, with or without symbols. Its functions for the key log are handed the secrets too, but the
//! labels that they write are put together on the stack; so the functions that derive are probed.
//!
//! TLS 1.3: each traffic secret is derived by one function, which takes the label of RFC 8446 as a blob: a constant that points to the
//! text. Without symbols it is the function that is called behind every reference to one of those blobs, and by nobody else.
//! *Measured* (the copy in awscrt 0.38.1, stripped): 7 references, one function.
//!
//! TLS 1.2: its PRF, by name only.

use memchr::memmem::Finder;
use qtap_capture::Hook;

use super::{Backend, Findings, Source};
use crate::classify::Found;
use crate::elf::{Elf, ElfError};
use crate::implementation::Implementation;
use crate::xref;

pub(super) const BACKEND: Backend = Backend {
    implementation: Implementation::S2n,
    crypto: None,
    find,
};

const DERIVE: &str = "s2n_derive_secret_with_context";

/// What it derives: labels of RFC 8446 §7.1, as they lie in memory.
const LABELS: [&[u8]; 7] = [
    b"c e traffic\0",
    b"c hs traffic\0",
    b"s hs traffic\0",
    b"c ap traffic\0",
    b"s ap traffic\0",
    b"exp master\0",
    b"res master\0",
];
/// Copies of a text that are followed.
const MAX_TEXTS: usize = 16;

fn find(source: &Source<'_, '_>, findings: &mut Findings) {
    match source.symbols.get(DERIVE) {
        Some(address) => findings
            .functions
            .push((Hook::S2nDerive, address, DERIVE, Found::Symbol)),
        None => {
            let derive = blobs(source.elf).and_then(|blobs| xref::only_callee(source.elf, &blobs));
            findings.inferred(Hook::S2nDerive, DERIVE, derive);
        }
    }
    findings.named(source, Hook::S2nPrf, "s2n_prf");
}

/// The blobs that point to the labels: which label, and where the blob is.
fn blobs(elf: &Elf<'_>) -> Result<Vec<(usize, u64)>, ElfError> {
    let finders = LABELS.map(Finder::new);
    let mut texts = Vec::new();
    // The texts are not constants to the compiler: they lie among data that can be written to.
    for segment in &elf.segments {
        elf.windows(segment, 16, |base, bytes, fresh| {
            for (label, finder) in finders.iter().enumerate() {
                let hits = finder.find_iter(bytes).take_while(|at| *at < fresh);
                texts.extend(hits.map(|at| (label, base + at as u64)).take(MAX_TEXTS));
            }
        })?;
    }
    texts.truncate(LABELS.len() * MAX_TEXTS);
    let mut blobs = Vec::new();
    for (label, text) in texts {
        blobs.extend(xref::slots_of(elf, text)?.into_iter().map(|blob| (label, blob)));
    }
    Ok(blobs)
}
