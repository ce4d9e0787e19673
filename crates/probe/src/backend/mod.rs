//! TLS libraries whose secrets are found each in its own way: one folder or file for each, of the same shape, and one line in
//! [`BACKENDS`].
//!
//! * find: the module here says by which names a file is known and where its functions are;
//! * attach: `qtap-capture`'s hook of that function, one line in its table of programs;
//! * decode: `bpf/NAME.bpf.h`, from registers to secrets.
//!
//! What one backend does not find, or fails at, stays with it: the others go on.

mod boringssl;
mod mbedtls;
mod nss;
mod rustls;
mod s2n;
mod wolfssl;

pub(crate) use boringssl::find_calls as find_boringssl_calls;
pub(crate) use nss::find_calls as find_nss_calls;
use qtap_capture::Hook;

use crate::classify::{Found, Missing};
use crate::elf::{Elf, ElfError, Symbols};
use crate::implementation::{Crypto, Implementation};
use crate::xref::LabelTexts;

/// Functions that were inferred, with hook and name; or why not.
pub(crate) type Inferred<const N: usize> = Result<[(Hook, &'static str, u64); N], String>;

/// One library.
pub(crate) struct Backend {
    /// Whose code this is for.
    pub(crate) implementation: Implementation,
    /// The library of its own that makes the keys, if it is one: `find` is then for its files.
    pub(crate) crypto: Option<Crypto>,
    /// Looks for the functions in a file that has, or may have, its code.
    pub(crate) find: fn(&Source<'_, '_>, &mut Findings),
}

/// All of them.
pub(crate) const BACKENDS: &[Backend] = &[
    rustls::BACKEND,
    wolfssl::BACKEND,
    mbedtls::BACKEND,
    mbedtls::CRYPTO,
    nss::BACKEND,
    s2n::BACKEND,
];

/// What of a file a backend looks at.
pub(crate) struct Source<'e, 'f> {
    pub(crate) elf: &'e Elf<'f>,
    pub(crate) symbols: &'e Symbols,
    pub(crate) texts: &'e LabelTexts,
}

/// What a backend found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Hook, address and name of functions.
    pub(crate) functions: Vec<(Hook, u64, &'static str, Found)>,
    /// What is not there.
    pub(crate) missing: Vec<Missing>,
}

impl Findings {
    /// A function that is to be in a symbol table.
    pub(crate) fn named(&mut self, source: &Source<'_, '_>, hook: Hook, symbol: &'static str) {
        match source.symbols.get(symbol) {
            Some(address) => self.functions.push((hook, address, symbol, Found::Symbol)),
            None => self.missing(symbol, source.symbols.why_missing()),
        }
    }

    /// A function that is found by what refers to it or what it refers to. An error is this function's alone.
    pub(crate) fn inferred(
        &mut self,
        hook: Hook,
        symbol: &'static str,
        found: Result<Result<u64, String>, ElfError>,
    ) {
        match found {
            Ok(Ok(address)) => self
                .functions
                .push((hook, address, symbol, Found::CrossReference)),
            Ok(Err(reason)) => self.missing(symbol, reason),
            Err(error) => self.missing(symbol, error.to_string()),
        }
    }

    fn missing(&mut self, symbol: &'static str, reason: String) {
        self.missing.push(Missing {
            symbol: symbol.into(),
            reason,
        });
    }
}

/// The backend for the file of an implementation itself.
pub(crate) fn of(implementation: Implementation) -> Option<&'static Backend> {
    (BACKENDS.iter()).find(|backend| backend.implementation == implementation && backend.crypto.is_none())
}

/// The backend for the files of a library that makes the keys.
pub(crate) fn of_crypto(crypto: Crypto) -> Option<&'static Backend> {
    BACKENDS.iter().find(|backend| backend.crypto == Some(crypto))
}
