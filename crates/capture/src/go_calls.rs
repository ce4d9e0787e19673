//! Calls that goroutines are in and of which no return will be seen: taken out of the kernel side's table.

use std::mem::offset_of;

use libbpf_rs::{ErrorKind, MapCore, MapHandle};

use crate::bindings::go_key;
use crate::{Error, Pid};

const NAME: &str = "go_calls";

/// The table of them. Threads that end take their calls along, but a goroutine is no thread, and goes on where its probes are taken off.
#[derive(Debug)]
pub(crate) struct GoCalls(MapHandle);

impl GoCalls {
    pub(crate) const MAP: &str = NAME;

    pub(crate) fn new(map: MapHandle) -> Self {
        Self(map)
    }

    /// Removes those of a process whose probes are off, or that is no more. A system call for each call that any goroutine is in, some
    /// ten thousand at most.
    pub(crate) fn forget(&self, pid: Pid) -> Result<(), Error> {
        let is_its = |key: &Vec<u8>| {
            let of_key = key.get(offset_of!(go_key, pid)..).and_then(<[u8]>::first_chunk);
            of_key.is_some_and(|bytes| u32::from_ne_bytes(*bytes) == pid.0)
        };
        let left: Vec<Vec<u8>> = self.0.keys().filter(is_its).collect();
        for key in left {
            match self.0.delete(&key) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.map_err(|source| Error::Map {
                    map: NAME,
                    attempt: "remove from",
                    source,
                })?,
            }
        }
        Ok(())
    }
}
