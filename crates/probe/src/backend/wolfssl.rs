//! wolfSSL: both functions are exported; they are the library's own HKDF and PRF.

use qtap_capture::Hook;

use super::{Backend, Findings, Source};
use crate::implementation::Implementation;

pub(super) const BACKEND: Backend = Backend {
    implementation: Implementation::WolfSsl,
    crypto: None,
    find,
};

fn find(source: &Source<'_, '_>, findings: &mut Findings) {
    findings.named(source, Hook::WolfsslExpandLabel, "wc_Tls13_HKDF_Expand_Label");
    findings.named(source, Hook::WolfsslPrf, "wc_PRF_TLS");
}
