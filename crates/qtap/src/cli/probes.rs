//! `--tls-probes`: which TLS libraries are looked into.

use qtap_config::nearest;
use thiserror::Error;

/// A TLS implementation, named as in `tlsProbeTypesDetected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TlsProbe {
    /// OpenSSL and what has its interface.
    OpenSsl,
    /// GnuTLS.
    GnuTls,
    /// rustls.
    Rustls,
    /// wolfSSL.
    WolfSsl,
    /// Mbed TLS.
    MbedTls,
    /// s2n-tls.
    S2n,
    /// NSS.
    Nss,
    /// Go's `crypto/tls`.
    Go,
}

/// Name, and the probe if it is there yet.
const NAMES: [(&str, Option<TlsProbe>); 11] = [
    ("openssl", Some(TlsProbe::OpenSsl)),
    ("gnutls", Some(TlsProbe::GnuTls)),
    ("boringssl", None),
    ("nss", Some(TlsProbe::Nss)),
    ("gotls", Some(TlsProbe::Go)),
    ("rustls", Some(TlsProbe::Rustls)),
    ("nodetls", None),
    ("javassl", None),
    ("wolfssl", Some(TlsProbe::WolfSsl)),
    ("mbedtls", Some(TlsProbe::MbedTls)),
    ("s2n", Some(TlsProbe::S2n)),
];

/// The probes to use; empty for `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsProbes(Vec<TlsProbe>);

/// A name that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown TLS library `{found}`{}; known: {}", hint(.nearest.as_deref()), names())]
pub(crate) struct UnknownProbe {
    found: String,
    nearest: Option<String>,
}

fn hint(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(", did you mean `{name}`?"))
        .unwrap_or_default()
}

fn names() -> String {
    let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).chain(["none"]).collect();
    names.join(", ")
}

impl TlsProbes {
    /// All that are there.
    pub(crate) fn all() -> Self {
        Self(NAMES.iter().filter_map(|(_, probe)| *probe).collect())
    }

    /// A comma list in any case, or `none`, or nothing. Also returns the names that are known but not there yet: the
    /// default list of existing deployments holds some, so they are warned about and not refused.
    pub(crate) fn parse(text: &str) -> Result<(Self, Vec<&'static str>), UnknownProbe> {
        let mut probes = Vec::new();
        let mut not_yet = Vec::new();
        let words = text.split(',').map(|word| word.trim().to_ascii_lowercase());
        for word in words.filter(|word| !word.is_empty() && word != "none") {
            match NAMES.iter().find(|(name, _)| *name == word) {
                Some((_, Some(probe))) if !probes.contains(probe) => probes.push(*probe),
                Some((_, Some(_))) => {}
                Some((name, None)) => not_yet.push(*name),
                None => {
                    let nearest = nearest(&word, NAMES.iter().map(|(name, _)| *name)).map(str::to_owned);
                    return Err(UnknownProbe {
                        found: word.escape_debug().to_string(),
                        nearest,
                    });
                }
            }
        }
        Ok((Self(probes), not_yet))
    }

    /// Their names, as they are given.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let chosen = |(name, probe): &(&'static str, Option<TlsProbe>)| {
            probe.filter(|probe| self.0.contains(probe)).map(|_| *name)
        };
        NAMES.iter().filter_map(chosen).collect()
    }

    /// Whether a library is to be looked into.
    pub(crate) fn includes(&self, probe: TlsProbe) -> bool {
        self.0.contains(&probe)
    }

    /// Whether there is none.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}
