//! From names and texts to file offsets.

use qtap_capture::Hook;

use super::{Classification, Found, Missing, Point};
use crate::backend;
use crate::elf::{Elf, ElfError, Symbols};
use crate::go::{self, GoTls};
use crate::implementation::{Crypto, Implementation};
use crate::xref::{self, LabelTexts};

/// Calls of the OpenSSL family; `SSL_*_ex` exist since 1.1.1 and not in BoringSSL.
const OPENSSL_CALLS: [(Hook, &str); 5] = [
    (Hook::SslRead, "SSL_read"),
    (Hook::SslReadEx, "SSL_read_ex"),
    (Hook::SslWrite, "SSL_write"),
    (Hook::SslWriteEx, "SSL_write_ex"),
    (Hook::SslFree, "SSL_free"),
];

const GNUTLS_CALLS: [(Hook, &str); 3] = [
    (Hook::GnutlsRecv, "gnutls_record_recv"),
    (Hook::GnutlsSend, "gnutls_record_send"),
    (Hook::GnutlsDeinit, "gnutls_deinit"),
];

const WOLFSSL_CALLS: [(Hook, &str); 3] = [
    (Hook::WolfsslRead, "wolfSSL_read"),
    (Hook::WolfsslWrite, "wolfSSL_write"),
    (Hook::WolfsslFree, "wolfSSL_free"),
];

/// A context may serve one connection after another.
const MBEDTLS_CALLS: [(Hook, &str); 4] = [
    (Hook::MbedtlsRead, "mbedtls_ssl_read"),
    (Hook::MbedtlsWrite, "mbedtls_ssl_write"),
    (Hook::MbedtlsFree, "mbedtls_ssl_free"),
    (Hook::MbedtlsFree, "mbedtls_ssl_session_reset"),
];

const S2N_CALLS: [(Hook, &str); 3] = [
    (Hook::S2nRecv, "s2n_recv"),
    (Hook::S2nSend, "s2n_send"),
    (Hook::S2nFree, "s2n_connection_free"),
];

/// Fills the points of `classification` for the implementations that were recognised.
pub(super) fn find(
    elf: &Elf<'_>,
    symbols: &Symbols,
    texts: &LabelTexts,
    go: Option<&GoTls>,
    classification: &mut Classification,
) {
    let mut finder = Finder {
        elf,
        symbols,
        missing: Vec::new(),
    };
    for implementation in classification.implementations.clone() {
        match implementation {
            Implementation::OpenSsl | Implementation::BoringSsl | Implementation::Unknown => {
                classification
                    .secrets
                    .extend(finder.log_function("ssl_log_secret", texts));
                classification
                    .calls
                    .extend(finder.openssl_calls(implementation, texts));
            }
            Implementation::LibreSsl => classification.calls.extend(finder.calls(&OPENSSL_CALLS)),
            Implementation::GnuTls => {
                classification
                    .secrets
                    .extend(finder.log_function("_gnutls_call_keylog_func", texts));
                // The log function is not called when a TLS 1.2 session is resumed; the key expansion is derived always.
                classification
                    .secrets
                    .extend(finder.named(Hook::GnutlsPrfRaw, "_gnutls_prf_raw"));
                classification.calls.extend(finder.calls(&GNUTLS_CALLS));
            }
            Implementation::GoTls => {
                if let Some(go) = go {
                    classification.secrets.extend(finder.go(go));
                    classification.calls.extend(finder.go_calls(go));
                }
            }
            other => {
                classification
                    .secrets
                    .extend(finder.backend(backend::of(other), texts));
                classification.calls.extend(match other {
                    Implementation::WolfSsl => finder.calls(&WOLFSSL_CALLS),
                    Implementation::MbedTls => finder.calls(&MBEDTLS_CALLS),
                    Implementation::S2n => finder.calls(&S2N_CALLS),
                    Implementation::Nss => finder.nss_calls(),
                    _ => Vec::new(),
                });
            }
        }
    }
    let fallback = match classification.crypto {
        Some(Crypto::OpenSsl) => finder.evp_derive(),
        Some(Crypto::Nettle) => finder.named(Hook::NettleHkdfExpand, "nettle_hkdf_expand"),
        Some(_) | None => None,
    };
    classification.fallback.extend(fallback);
    if let Some(backend) = classification.crypto.and_then(backend::of_crypto) {
        let points = finder.backend(Some(backend), texts);
        classification.fallback.extend(points);
    }
    classification.missing = finder.missing;
    if classification
        .needs_crypto()
        .is_some_and(|needed| classification.crypto == Some(needed))
    {
        // Linked into one file: nobody else will ask for it.
        classification.secrets.append(&mut classification.fallback);
    }
}

struct Finder<'e, 'f> {
    elf: &'e Elf<'f>,
    symbols: &'e Symbols,
    missing: Vec<Missing>,
}

impl Finder<'_, '_> {
    fn named(&mut self, hook: Hook, symbol: &'static str) -> Option<Point> {
        let Some(address) = self.symbols.get(symbol) else {
            let reason = self.symbols.why_missing();
            self.missing.push(Missing {
                symbol: symbol.into(),
                reason,
            });
            return None;
        };
        self.point(hook, symbol, address, Found::Symbol)
    }

    fn calls(&mut self, wanted: &[(Hook, &'static str)]) -> Vec<Point> {
        wanted
            .iter()
            .filter_map(|(hook, symbol)| self.named(*hook, symbol))
            .collect()
    }

    /// By their names, or, where BoringSSL is linked in without any, by inference. Not in what has no log function: that is no TLS code.
    fn openssl_calls(&mut self, implementation: Implementation, texts: &LabelTexts) -> Vec<Point> {
        let has_names = OPENSSL_CALLS.iter().any(|(_, name)| self.symbols.has(name));
        let is_open = implementation == Implementation::OpenSsl || has_names || texts.is_empty();
        if is_open {
            return self.calls(&OPENSSL_CALLS);
        }
        let found = backend::find_boringssl_calls(self.elf);
        self.inferred_calls("SSL_read", found)
    }

    /// They have no names outside of libssl3.
    fn nss_calls(&mut self) -> Vec<Point> {
        let found = backend::find_nss_calls(self.elf);
        self.inferred_calls("ssl_SecureRecv", found)
    }

    /// What was inferred, or that `symbol` was not.
    fn inferred_calls<const N: usize>(
        &mut self,
        symbol: &'static str,
        found: Result<backend::Inferred<N>, ElfError>,
    ) -> Vec<Point> {
        let reason = match found {
            Ok(Ok(calls)) => {
                let points = calls
                    .into_iter()
                    .map(|(hook, symbol, address)| self.point(hook, symbol, address, Found::CrossReference));
                return points.flatten().collect();
            }
            Ok(Err(reason)) => reason,
            Err(error) => error.to_string(),
        };
        let symbol = symbol.into();
        self.missing.push(Missing { symbol, reason });
        Vec::new()
    }

    fn log_function(&mut self, symbol: &'static str, texts: &LabelTexts) -> Option<Point> {
        if let Some(address) = self.symbols.get(symbol) {
            return self.point(Hook::LogSecret, symbol, address, Found::Symbol);
        }
        match xref::find_log_function(self.elf, texts) {
            Ok(address) => self.point(Hook::LogSecret, symbol, address, Found::CrossReference),
            Err(error) => {
                let reason = error.to_string();
                self.missing.push(Missing {
                    symbol: symbol.into(),
                    reason,
                });
                None
            }
        }
    }

    /// `EVP_KDF_derive` takes parameters since 3.0 only (Red Hat's 1.1.1 has an older function of that name);
    /// `EVP_PKEY_derive` is understood for the context layout of 1.1.1 only.
    fn evp_derive(&mut self) -> Option<Point> {
        if self.symbols.has("EVP_KDF_fetch") {
            return self.named(Hook::EvpKdfDerive, "EVP_KDF_derive");
        }
        if self.symbols.has("RAND_DRBG_new") {
            return self.named(Hook::EvpPkeyDerive, "EVP_PKEY_derive");
        }
        self.missing.push(Missing {
            symbol: "EVP_KDF_derive".into(),
            reason: "libcrypto is neither OpenSSL 1.1.1 nor 3".to_owned(),
        });
        None
    }

    fn backend(&mut self, backend: Option<&backend::Backend>, texts: &LabelTexts) -> Vec<Point> {
        let Some(backend) = backend else {
            return Vec::new();
        };
        let source = backend::Source {
            elf: self.elf,
            symbols: self.symbols,
            texts,
        };
        let mut findings = backend::Findings::default();
        (backend.find)(&source, &mut findings);
        self.missing.append(&mut findings.missing);
        let points = (findings.functions.into_iter())
            .filter_map(|(hook, address, symbol, found)| self.point(hook, symbol, address, found));
        points.collect()
    }

    fn go(&mut self, go: &GoTls) -> Vec<Point> {
        if let Some(reason) = &go.reason {
            self.missing.push(Missing {
                symbol: go::KEY_LOG.into(),
                reason: reason.clone(),
            });
        }
        let logs = (go.key_logs.iter()).map(|address| (Hook::GoKeyLog, go::KEY_LOG, *address));
        let keys = (go.master_keys.iter()).map(|address| (Hook::GoMasterKeys, go::MASTER_KEYS, *address));
        logs.chain(keys)
            .filter_map(|(hook, symbol, address)| self.point(hook, symbol, address, Found::FunctionTable))
            .collect()
    }

    fn go_calls(&mut self, go: &GoTls) -> Vec<Point> {
        if let Some(reason) = &go.calls_reason {
            self.missing.push(Missing {
                symbol: go::READ.into(),
                reason: reason.clone(),
            });
        }
        let mut points = Vec::new();
        for (hook, address) in &go.calls {
            let symbol = match hook {
                Hook::GoWrite | Hook::GoWriteEnd => go::WRITE,
                _ => go::READ,
            };
            points.extend(self.point(*hook, symbol, *address, Found::FunctionTable));
        }
        points
    }

    fn point(&mut self, hook: Hook, symbol: &'static str, address: u64, found: Found) -> Option<Point> {
        let Some(offset) = self.elf.code_offset(address) else {
            let reason = format!("its address {address:#x} is not in the code of the file");
            self.missing.push(Missing {
                symbol: symbol.into(),
                reason,
            });
            return None;
        };
        Some(Point {
            hook,
            offset,
            symbol: symbol.into(),
            found,
        })
    }
}
