//! One ELF file → what TLS code it has and where to probe it.

mod names;
mod points;
mod recognise;

use std::borrow::Cow;
use std::fs::File;
use std::io;

use qtap_capture::Hook;
use serde::{Deserialize, Serialize};

use crate::elf::{Elf, ElfError, Machine, Symbols};
use crate::go;
use crate::identity::{BuildId, FileIdentity};
use crate::implementation::{Crypto, Implementation};
use crate::xref::LabelTexts;

/// Why a file could not be classified. It may be worth another try: a file that is being written is malformed.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// The file itself.
    #[error("cannot inspect the file: {0}")]
    File(#[from] io::Error),
    /// Its content.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// A place to probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// What is there.
    pub hook: Hook,
    /// Offset in the file of the function's first instruction.
    pub offset: u64,
    /// Its name.
    pub symbol: Cow<'static, str>,
    /// How it was found.
    pub found: Found,
}

/// How a function was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// By name in a symbol table.
    Symbol,
    /// By the code that refers to the key-log label texts.
    CrossReference,
    /// By name in the function table of a Go program.
    FunctionTable,
}

/// A function that is not there, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its name.
    pub symbol: Cow<'static, str>,
    /// Why it was not found.
    pub reason: String,
}

/// What one file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classification {
    /// Device, inode, size, modification time.
    pub identity: FileIdentity,
    /// The linker's build id.
    pub build_id: Option<BuildId>,
    /// The TLS implementations in it, rarely more than one (Node: one; a browser with two copies: one).
    pub implementations: Vec<Implementation>,
    /// The cryptographic library that it is, if it is one.
    pub crypto: Option<Crypto>,
    /// Where secrets are seen.
    pub secrets: Vec<Point>,
    /// Where secrets are seen too, but with more hits: to be attached only in processes that have a TLS library
    /// which [needs it](Classification::needs_crypto).
    pub fallback: Vec<Point>,
    /// Where the plaintext of calls is seen.
    pub calls: Vec<Point>,
    /// What was looked for and not found.
    pub missing: Vec<Missing>,
}

impl Classification {
    /// Whether anything of TLS is in the file.
    #[must_use]
    pub fn is_relevant(&self) -> bool {
        !self.implementations.is_empty() || self.crypto.is_some()
    }

    /// The cryptographic library whose fall-back points have to be attached where this file is mapped, because it
    /// has no complete secret points itself.
    #[must_use]
    pub fn needs_crypto(&self) -> Option<Crypto> {
        let has_log_function = self.secrets.iter().any(|point| point.hook == Hook::LogSecret);
        let own = self
            .implementations
            .iter()
            .find_map(|implementation| implementation.crypto())?;
        (!has_log_function && !self.secrets_complete()).then_some(own)
    }

    /// Whether the points of this file alone show the secrets of TLS 1.2 and 1.3.
    fn secrets_complete(&self) -> bool {
        self.secrets.iter().any(|point| {
            matches!(
                point.hook,
                Hook::LogSecret | Hook::EvpKdfDerive | Hook::EvpPkeyDerive | Hook::NettleHkdfExpand
            )
        })
    }

    /// Why the connections of this file's code cannot be captured at all; `None` if they can, or if it has no TLS code.
    #[must_use]
    pub fn unsupported(&self) -> Option<String> {
        let implementation = self.implementations.first()?;
        // What libraries of its own make the keys for is not decided here.
        let elsewhere = matches!(implementation, Implementation::Nss | Implementation::MbedTls);
        if !self.secrets.is_empty() || !self.calls.is_empty() || elsewhere {
            return None;
        }
        let why = match implementation {
            Implementation::JavaSsl => {
                "Java's TLS runs as byte code in the JVM, which probes cannot reach".to_owned()
            }
            Implementation::OpenSsl
            | Implementation::BoringSsl
            | Implementation::GnuTls
            | Implementation::LibreSsl
            | Implementation::GoTls
            | Implementation::Rustls
            | Implementation::WolfSsl
            | Implementation::S2n => {
                let reason = self
                    .missing
                    .first()
                    .map_or("no function was found", |missing| missing.reason.as_str());
                format!("{implementation} without a place to probe: {reason}")
            }
            Implementation::Unknown => {
                "key-log texts of an unknown TLS library, without a function that uses them".to_owned()
            }
            // Decided above.
            Implementation::Nss | Implementation::MbedTls => return None,
        };
        Some(why)
    }
}

/// Classifies an open file. Cost: a few milliseconds for a library, some hundred for a 300 MB browser; memory under
/// 1 MiB but for symbol tables (bounded).
///
/// # Errors
/// [`ClassifyError`]; [`ElfError::NotElf`] among them says that there is nothing to find.
pub fn classify(file: &File) -> Result<Classification, ClassifyError> {
    let identity = FileIdentity::of(file)?;
    let elf = Elf::parse(file, identity.size)?;
    if Machine::HOST != Some(elf.machine) {
        return Err(ElfError::ForeignMachine(elf.machine.number()).into());
    }
    let mut symbols = Symbols::dynamic(&elf, &names::wanted);
    let texts = LabelTexts::find(&elf)?;
    if !texts.is_empty() || recognise::may_have_s2n(&elf, &symbols, &texts)? {
        // TLS code linked into a program: its functions are in the full table, if anywhere.
        symbols.add_full(&elf, &names::wanted);
    }
    let go = go::find(&elf)?;
    let recognised = recognise::recognise(&elf, &symbols, &texts, go.as_ref())?;
    let mut classification = Classification {
        identity,
        build_id: elf.build_id.clone(),
        implementations: recognised.implementations,
        crypto: recognised.crypto,
        secrets: Vec::new(),
        fallback: Vec::new(),
        calls: Vec::new(),
        missing: Vec::new(),
    };
    points::find(&elf, &symbols, &texts, go.as_ref(), &mut classification);
    Ok(classification)
}
