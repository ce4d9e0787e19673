//! The label texts of the NSS key log, where a file has them.

use memchr::memmem::Finder;

use crate::elf::{Elf, ElfError};

/// More copies of one text than this are not remembered: a library has one, a file full of them is not a library.
const MAX_TEXTS: usize = 64;

/// A label of the NSS key log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Label {
    ClientEarly,
    ClientHandshake,
    ServerHandshake,
    ClientTraffic,
    ServerTraffic,
    Exporter,
    ClientRandom,
}

impl Label {
    pub(crate) const ALL: [Self; 7] = [
        Self::ClientEarly,
        Self::ClientHandshake,
        Self::ServerHandshake,
        Self::ClientTraffic,
        Self::ServerTraffic,
        Self::Exporter,
        Self::ClientRandom,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::ClientEarly => "CLIENT_EARLY_TRAFFIC_SECRET",
            Self::ClientHandshake => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            Self::ServerHandshake => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            Self::ClientTraffic => "CLIENT_TRAFFIC_SECRET_0",
            Self::ServerTraffic => "SERVER_TRAFFIC_SECRET_0",
            Self::Exporter => "EXPORTER_SECRET",
            Self::ClientRandom => "CLIENT_RANDOM",
        }
    }
}

/// Addresses of the NUL-terminated label texts. A text may be the tail of a longer one (`EXPORTER_SECRET` in
/// `EARLY_EXPORTER_SECRET`): linkers merge them.
#[derive(Debug, Default)]
pub(crate) struct LabelTexts {
    /// Label and address.
    pub(crate) found: Vec<(Label, u64)>,
    /// Labels that are not NUL-terminated were seen, as Rust programs have them.
    pub(crate) unterminated: bool,
    /// Addresses of the unterminated `CLIENT_EARLY_TRAFFIC_SECRET`.
    pub(crate) unterminated_early: Vec<u64>,
}

impl LabelTexts {
    /// Whether no NUL-terminated label was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Searches the segments of constant texts.
    pub(crate) fn find(elf: &Elf<'_>) -> Result<Self, ElfError> {
        // Three needles find all seven labels; a file without TLS code has none of them.
        let needles = ["TRAFFIC_SECRET", "EXPORTER_SECRET", "CLIENT_RANDOM"].map(Finder::new);
        let mut texts = Self::default();
        // A label may begin this much before its needle and end this much behind it.
        const BEFORE: usize = 32;
        const OVERLAP: usize = 96;
        for segment in elf.text_segments() {
            elf.windows(segment, OVERLAP, |address, bytes, fresh| {
                for needle in &needles {
                    for hit in needle.find_iter(bytes) {
                        let start = hit.saturating_sub(BEFORE);
                        let near = bytes
                            .get(start..bytes.len().min(hit + OVERLAP - BEFORE))
                            .unwrap_or_default();
                        texts.note(address + start as u64, near, fresh.saturating_sub(start));
                    }
                }
            })?;
        }
        texts.found.sort_unstable();
        texts.found.dedup();
        texts.unterminated_early.sort_unstable();
        texts.unterminated_early.dedup();
        Ok(texts)
    }

    /// Notes every label that begins in the first `fresh` of `bytes`.
    fn note(&mut self, address: u64, bytes: &[u8], fresh: usize) {
        for label in Label::ALL {
            let text = label.text().as_bytes();
            for at in memchr::memmem::find_iter(bytes, text).filter(|at| *at < fresh) {
                match bytes.get(at + text.len()) {
                    Some(0) if self.count(label) < MAX_TEXTS => self.found.push((label, address + at as u64)),
                    Some(0) | None => {}
                    // `CLIENT_RANDOM` alone is too common a word to say anything without its end.
                    Some(_) => {
                        self.unterminated |= label != Label::ClientRandom;
                        if label == Label::ClientEarly && self.unterminated_early.len() < MAX_TEXTS {
                            self.unterminated_early.push(address + at as u64);
                        }
                    }
                }
            }
        }
    }

    fn count(&self, label: Label) -> usize {
        self.found.iter().filter(|(found, _)| *found == label).count()
    }
}
