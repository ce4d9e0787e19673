//! Whose TLS code a file has: by the names that it defines, else by texts.

use memchr::memmem::Finder;

use crate::elf::{Elf, ElfError, Symbols};
use crate::go::GoTls;
use crate::implementation::{Crypto, Implementation};
use crate::xref::LabelTexts;

/// What was recognised.
#[derive(Debug, Default)]
pub(super) struct Recognised {
    pub(super) implementations: Vec<Implementation>,
    pub(super) crypto: Option<Crypto>,
}

pub(super) fn recognise(
    elf: &Elf<'_>,
    symbols: &Symbols,
    texts: &LabelTexts,
    go: Option<&GoTls>,
) -> Result<Recognised, ElfError> {
    let mut implementations: Vec<Implementation> = openssl_family(symbols).into_iter().collect();
    let by_name = [
        ("gnutls_record_recv", Implementation::GnuTls),
        ("SSL_ImportFD", Implementation::Nss),
        ("wolfSSL_read", Implementation::WolfSsl),
        ("mbedtls_ssl_read", Implementation::MbedTls),
        ("s2n_recv", Implementation::S2n),
        ("JNI_CreateJavaVM", Implementation::JavaSsl),
    ];
    implementations.extend(
        by_name
            .iter()
            .filter(|(name, _)| symbols.has(name))
            .map(|(_, found)| *found),
    );
    implementations.extend(go.map(|_| Implementation::GoTls));
    if implementations.is_empty() && (!texts.is_empty() || texts.unterminated) {
        implementations.extend(by_text(elf, texts)?);
    }
    Ok(Recognised {
        implementations,
        crypto: crypto(symbols),
    })
}

fn openssl_family(symbols: &Symbols) -> Option<Implementation> {
    if !symbols.has("SSL_CTX_new") || !symbols.has("SSL_read") {
        return None;
    }
    Some(if symbols.has("SSL_CTX_set_grease_enabled") {
        Implementation::BoringSsl
    } else if symbols.has("SSL_CTX_use_certificate_chain_mem") {
        Implementation::LibreSsl
    } else {
        Implementation::OpenSsl
    })
}

fn crypto(symbols: &Symbols) -> Option<Crypto> {
    if symbols.has("OPENSSL_init_crypto") && symbols.has("EVP_PKEY_derive") {
        return Some(Crypto::OpenSsl);
    }
    let by_name = [
        ("nettle_hkdf_expand", Crypto::Nettle),
        ("mbedtls_md_hmac_starts", Crypto::MbedTls),
        ("PK11_DeriveWithFlags", Crypto::Nss),
        ("FREEBL_GetVector", Crypto::Nss),
    ];
    (by_name.iter())
        .find(|(name, _)| symbols.has(name))
        .map(|(_, crypto)| *crypto)
}

/// What is in the messages of its errors: the name of a source file.
const S2N_TEXT: &[u8] = b"s2n_tls13";

/// Whether s2n-tls may be in the file. Its key-log labels have no end, so they look like those of a Rust program.
pub(super) fn may_have_s2n(elf: &Elf<'_>, symbols: &Symbols, texts: &LabelTexts) -> Result<bool, ElfError> {
    Ok(symbols.has("s2n_recv") || (texts.unterminated && contains(elf, &[S2N_TEXT])?.is_some()))
}

/// Stripped programs: texts that the compiler leaves in, mostly source paths of error messages. BoringSSL names
/// itself in few of its builds, but OpenSSL proper always carries its version text.
fn by_text(elf: &Elf<'_>, texts: &LabelTexts) -> Result<Option<Implementation>, ElfError> {
    if texts.unterminated {
        return Ok(Some(match contains(elf, &[b"rustls", S2N_TEXT])? {
            Some(0) => Implementation::Rustls,
            Some(_) => Implementation::S2n,
            None => Implementation::Unknown,
        }));
    }
    let markers: [&[u8]; 4] = [b"gnutls", b"BoringSSL", b"boringssl", b"OpenSSL 3."];
    let found = contains(elf, &markers)?;
    Ok(Some(match found {
        Some(0) => Implementation::GnuTls,
        Some(1 | 2) => Implementation::BoringSsl,
        Some(3) => Implementation::OpenSsl,
        _ => Implementation::Unknown,
    }))
}

/// The least index of the `needles` that occur in the segments of constant texts.
fn contains(elf: &Elf<'_>, needles: &[&[u8]]) -> Result<Option<usize>, ElfError> {
    let finders: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
    let mut best: Option<usize> = None;
    for segment in elf.text_segments() {
        elf.windows(segment, 64, |_, bytes, _| {
            let found = finders
                .iter()
                .take(best.unwrap_or(finders.len()))
                .position(|f| f.find(bytes).is_some());
            best = found.or(best);
        })?;
    }
    Ok(best)
}
