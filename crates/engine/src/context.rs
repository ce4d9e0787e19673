//! What a connection works with while it handles one event.

use qtap_capture::{KernelTime, WallClock};

use crate::id::IdSource;
use crate::settings::{Budget, Settings};
use crate::{Consumer, Host, Load, Names, Stats};

/// Shared parts of one worker, borrowed for one event.
pub(crate) struct Context<'a> {
    pub(crate) consumer: &'a mut dyn Consumer,
    pub(crate) host: &'a dyn Host,
    pub(crate) settings: &'a Settings,
    pub(crate) clock: &'a WallClock,
    pub(crate) ids: &'a IdSource,
    pub(crate) stats: &'a Stats,
    pub(crate) budget: &'a Budget,
    pub(crate) load: &'a Load,
    pub(crate) names: &'a Names,
    /// Kernel time now, taken once per batch.
    pub(crate) now: KernelTime,
}
