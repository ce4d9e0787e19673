//! What a connection works with while it handles one event.

use qtap_capture::{KernelTime, WallClock};

use qtap_protocol::{Side, Time};

use crate::application::Plain;
use crate::id::IdSource;
use crate::settings::{Budget, Settings};
use crate::{Consumer, Host, Load, Names, Stats};

/// Lists that are empty between two events, so that none is allocated for each.
#[derive(Default)]
pub(crate) struct Scratch {
    /// What a TLS session told.
    pub(crate) tls: Vec<qtap_tls::Event>,
    /// What came of it.
    pub(crate) plain: Vec<(Side, Plain, Time)>,
    /// What a parser told.
    pub(crate) parsed: Vec<qtap_protocol::Event>,
}

/// Room that a list keeps.
const KEPT: usize = 64;

/// Puts an emptied list back for the next event, unless it grew far.
pub(crate) fn keep<T>(place: &mut Vec<T>, mut list: Vec<T>) {
    if list.capacity() <= KEPT {
        list.clear();
        *place = list;
    }
}

/// Shared parts of one worker, borrowed for one event.
pub(crate) struct Context<'a> {
    pub(crate) consumer: &'a mut dyn Consumer,
    pub(crate) scratch: &'a mut Scratch,
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
