//! What can go wrong between us and the kernel.

use std::path::PathBuf;

/// An operation on the kernel side failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has no meaning.
    #[error("option {option}: {problem}")]
    Option {
        /// Which.
        option: &'static str,
        /// Why.
        problem: String,
    },
    /// The object could not be opened or prepared; the build is broken or the kernel has no BTF.
    #[error("cannot prepare the BPF object: {attempt}")]
    Open {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: libbpf_rs::Error,
    },
    /// Not even the socket hooks load. `reason` is the kernel's.
    #[error("the kernel does not load the socket hooks ({reason}); `qtap doctor` tells what is missing")]
    Load {
        /// What the loader or the verifier said.
        reason: String,
        /// The error code.
        #[source]
        source: libbpf_rs::Error,
    },
    /// A map of the object is missing; the build is broken.
    #[error("the BPF object has no map {0}")]
    NoMap(&'static str),
    /// A program that is not there, because its group did not load.
    #[error("BPF program {0} is not loaded")]
    NoProgram(&'static str),
    /// A map could not be read or written.
    #[error("cannot {attempt} map {map}")]
    Map {
        /// Which map.
        map: &'static str,
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The memory of a map could not be shared, or waiting failed.
    #[error("cannot {attempt}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A probe could not be attached.
    #[error("cannot attach {program} to {path} at {offset:#x}")]
    Probe {
        /// The BPF program.
        program: &'static str,
        /// The file.
        path: PathBuf,
        /// The first file offset of the set.
        offset: u64,
        /// Why it failed.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The pass over existing connections failed.
    #[error("cannot look for existing connections")]
    Existing(#[source] std::io::Error),
}

impl Error {
    /// An [`Error::System`] from `errno`.
    pub(crate) fn last_os(attempt: &'static str) -> Self {
        Self::System {
            attempt,
            source: std::io::Error::last_os_error(),
        }
    }
}
