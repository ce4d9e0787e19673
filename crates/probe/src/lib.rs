//! Finds TLS code in running programs and keeps it probed.
//!
//! In: life of processes and mappings, as [`Input`]s. Out: attachments, made through an [`Attacher`], and
//! [`Implementations`]: which TLS code each process has, since when it is seen, and why it is not.
//!
//! [`classify`] looks at one file; [`Tracker`] decides for the whole host. The library does not touch the kernel.
//!
//! ```no_run
//! use qtap_probe::{Attacher, Expected, Input, Source, Tracker};
//! fn follow<A: Attacher + Send + 'static>(attacher: A, inbox: crossbeam_channel::Receiver<Input>) {
//!     let expected = crossbeam_channel::never::<Expected>();
//!     let mut tracker = Tracker::new(attacher, Source::Auto);
//!     let implementations = tracker.implementations();
//!     std::thread::spawn(move || {
//!         tracker.start();
//!         tracker.run(&inbox, &expected);
//!     });
//!     if let Some(found) = implementations.of(qtap_capture::Pid(1)) {
//!         println!("{:?}", found.names());
//!     }
//! }
//! ```

mod backend;
mod cache;
mod classify;
mod elf;
mod go;
mod hold;
mod identity;
mod implementation;
mod loader_cache;
mod maps;
mod memory;
mod procmap;
mod report;
mod tracker;
mod xref;

pub use cache::{CacheError, ScanCache};
pub use classify::{Classification, ClassifyError, Found, Missing, Point, classify};
pub use elf::ElfError;
pub use hold::{Answers, HoldLink, Holder, LIMIT as HOLD_LIMIT, Question, Verdict};
pub use identity::{BuildId, FileIdentity, Inode};
pub use implementation::{Crypto, Implementation};
pub use loader_cache::{parse_cache, tls_libraries};
pub use maps::{Mapping, open_mapping, parse_maps, read_maps};
pub use memory::{Harvest, MemoryLimits, MemorySecret, search_memory};
pub use report::{Counters, Implementations, LibraryTls, ProcessTls};
pub use tracker::{Admitted, Attacher, Expected, Input, Source, Tracker};
