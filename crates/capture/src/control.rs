//! What goes back to the kernel, and what it counts.

use std::collections::HashSet;
use std::mem::offset_of;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle};

use crate::bindings as kernel;
use crate::bindings::counter;
use crate::counters::{
    Counters, closed_lost, datagrams_lost, opened_lost, process_events_lost, read_counters,
};
use crate::decode::device_to_kernel;
use crate::mappings::Shared;
use crate::programs::LoadedPrograms;
use crate::ring::Positions;
use crate::shared::SharedMemory;
use crate::{
    Census, ConnectionId, DirectionFilter, Error, KernelTime, Living, Pid, ProcessVerdict, QuicBytes,
    Settings, Shed, TraceModule, Verdict,
};

/// Slots of verdicts, see `bpf/maps.bpf.h`.
const VERDICT_SLOTS: u64 = 65_536;

/// Steers the kernel side. Cheap to clone; all methods may be called from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    verdicts: SharedMemory,
    settings: Arc<SettingsMemory>,
    processes: MapHandle,
    known_files: MapHandle,
    traced: MapHandle,
    counters: MapHandle,
    connections: MapHandle,
    quic_counts: MapHandle,
    programs: LoadedPrograms,
    /// Where the kernel tells mappings by perf events.
    mappings: Option<Arc<Shared>>,
    rings: Vec<(&'static str, Positions)>,
}

impl Control {
    #[allow(clippy::too_many_arguments, reason = "one per map")]
    pub(crate) fn new(
        settings: Arc<SettingsMemory>,
        verdicts: &MapHandle,
        processes: MapHandle,
        known_files: MapHandle,
        traced: MapHandle,
        counters: MapHandle,
        connections: MapHandle,
        quic_counts: MapHandle,
        programs: LoadedPrograms,
        mappings: Option<Arc<Shared>>,
        rings: Vec<(&'static str, Positions)>,
    ) -> Result<Self, Error> {
        let length = VERDICT_SLOTS as usize * size_of::<kernel::verdict>();
        let verdicts = SharedMemory::map(verdicts, 0, length, true).map_err(|source| Error::System {
            attempt: "share the verdicts",
            source,
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                verdicts,
                settings,
                processes,
                known_files,
                traced,
                counters,
                connections,
                quic_counts,
                programs,
                mappings,
                rings,
            }),
        })
    }

    /// Says what to copy of a connection; holds for calls that end from now on. A few stores, no system call.
    ///
    /// Connections whose ids are a multiple of 65,536 apart share a slot: the last one written has it, the other one is copied
    /// in full.
    pub fn verdict(&self, id: ConnectionId, verdict: Verdict) {
        let base = (id.0 % VERDICT_SLOTS) as usize * size_of::<kernel::verdict>();
        let store = |offset, value| {
            if let Some(at) = self.inner.verdicts.at::<AtomicU64>(base + offset) {
                // SAFETY: inside the mapping, which lives as long as self; the kernel reads whole words.
                unsafe { at.as_ref() }.store(value, Ordering::Relaxed);
            }
        };
        // Nobody's while it is half written.
        store(offset_of!(kernel::verdict, connection), 0);
        fence(Ordering::SeqCst);
        for direction in 0..2 {
            let word = direction * size_of::<u64>();
            let (skip, stream) = match direction {
                0 => (verdict.skip_until[0], verdict.stream_until[0]),
                _ => (verdict.skip_until[1], verdict.stream_until[1]),
            };
            store(offset_of!(kernel::verdict, skip_until) + word, skip);
            store(offset_of!(kernel::verdict, stream_until) + word, stream);
        }
        store(offset_of!(kernel::verdict, calls), u64::from(verdict.calls));
        fence(Ordering::SeqCst);
        store(offset_of!(kernel::verdict, connection), id.0);
    }

    /// Says whether connections of a process, and of those it forks from now on, are observed. `as_of`: when the image that was
    /// judged ran; of a later one, after an exec, the verdict does not hold. Holds for connections that open from now on. Forgotten
    /// when the process exits.
    pub fn process(&self, pid: Pid, verdict: ProcessVerdict, as_of: KernelTime) -> Result<(), Error> {
        let map = "process_verdicts";
        let key = pid.0.to_ne_bytes();
        match verdict {
            ProcessVerdict::Ignore => self
                .inner
                .processes
                .update(&key, &as_of.0.to_ne_bytes(), MapFlags::ANY)
                .map_err(|source| Error::Map {
                    map,
                    attempt: "write",
                    source,
                }),
            ProcessVerdict::Observe => remove(&self.inner.processes, map, &key),
        }
    }

    /// Replaces the settings; holds for connections that open from now on.
    pub fn settings(&self, settings: Settings) {
        self.inner.settings.write(settings);
    }

    /// Says what is not copied of any connection to shed load; holds for calls that end from now on.
    pub fn shed(&self, shed: Shed) {
        self.inner.settings.shed(shed);
    }

    /// Do not tell of executable mappings of this file any more: nothing in it is of interest. `device` is `st_dev` of `stat(2)`.
    pub fn mark_known(&self, device: u64, inode: u64) -> Result<(), Error> {
        if let Some(mappings) = &self.inner.mappings {
            mappings.mark_known(device, inode);
            return Ok(());
        }
        self.inner
            .known_files
            .update(&file_key(device, inode), &[1], MapFlags::ANY)
            .map_err(|source| Error::Map {
                map: "known_files",
                attempt: "write",
                source,
            })
    }

    /// Tell of executable mappings of this file again, for instance because it was written to.
    pub fn forget_known(&self, device: u64, inode: u64) -> Result<(), Error> {
        if let Some(mappings) = &self.inner.mappings {
            mappings.forget_known(device, inode);
            return Ok(());
        }
        remove(&self.inner.known_files, "known_files", &file_key(device, inode))
    }

    /// Which modules tell their decisions ([`crate::Event::Trace`]), and whether of all processes or only of those given to
    /// [`Self::trace_process`]. Nothing by default, which costs next to nothing.
    pub fn trace(&self, modules: &[TraceModule], everyone: bool) {
        let modules = modules.iter().fold(0, |bits, module| bits | module.bit());
        let everyone = if everyone {
            kernel::trace_module::TRACE_EVERYONE.0
        } else {
            0
        };
        self.inner.settings.trace_modules(modules | everyone);
    }

    /// Adds a process to those traced, or takes it out; at most 1,024. Forgotten when it exits.
    pub fn trace_process(&self, pid: Pid, traced: bool) -> Result<(), Error> {
        let map = "traced_processes";
        let key = pid.0.to_ne_bytes();
        if !traced {
            return remove(&self.inner.traced, map, &key);
        }
        let update = self.inner.traced.update(&key, &[1], MapFlags::ANY);
        update.map_err(|source| Error::Map {
            map,
            attempt: "write",
            source,
        })
    }

    /// Events about processes and their mappings that found no room so far: what they told is to be found by looking at every
    /// process. Two system calls.
    pub fn process_events_lost(&self) -> Result<u64, Error> {
        let mappings = self.inner.mappings.as_ref().map_or(0, |mappings| mappings.lost());
        Ok(process_events_lost(&self.inner.counters)? + mappings)
    }

    /// Ends of connections that found no room so far: which they were is to be found by [`Self::living`]. One system call.
    pub fn closed_lost(&self) -> Result<u64, Error> {
        closed_lost(&self.inner.counters)
    }

    /// Openings of connections that found no room so far: they are told when bytes move, or by [`crate::Capture::scan_existing`]. One system call.
    pub fn opened_lost(&self) -> Result<u64, Error> {
        opened_lost(&self.inner.counters)
    }

    /// Datagrams that found no room so far. One system call.
    pub fn datagrams_lost(&self) -> Result<u64, Error> {
        datagrams_lost(&self.inner.counters)
    }

    /// Which connections there are. Two system calls for each.
    pub fn living(&self) -> Result<Living, Error> {
        let map = &self.inner.connections;
        let time = crate::now();
        let mut ids = HashSet::new();
        // An entry that stays is in its bucket all the time, so that the walk does not miss it.
        for key in map.keys() {
            let value = map.lookup(&key, MapFlags::ANY).map_err(|source| Error::Map {
                map: "connections",
                attempt: "read",
                source,
            })?;
            let id = value.as_deref().and_then(|value| {
                let at = offset_of!(kernel::connection, id);
                Some(u64::from_ne_bytes(*value.get(at..)?.first_chunk()?))
            });
            ids.extend(id.map(ConnectionId));
        }
        Ok(Living { time, ids })
    }

    /// How far each connection is, and how many are left out for which process. Two system calls for each.
    pub fn census(&self) -> Result<Census, Error> {
        crate::census::take(&self.inner.connections)
    }

    /// What the socket of a [`crate::QuicDatagram`] has moved, or sent to one `peer`; `None` when the kernel side has forgotten it for want
    /// of room. One system call.
    pub fn quic_bytes(&self, socket: u64, peer: Option<SocketAddr>) -> Result<Option<QuicBytes>, Error> {
        crate::quic::bytes_of(&self.inner.quic_counts, socket, peer)
    }

    /// Everything the kernel side counted since it was loaded, and how many bytes of each ring wait to be read. One system call
    /// per counter.
    pub fn counters(&self) -> Result<Counters, Error> {
        let mut counters = read_counters(&self.inner.counters, &self.inner.programs)?;
        if let Some(mappings) = &self.inner.mappings {
            counters.add(counter::COUNT_MAPPED_LOST, mappings.lost());
        }
        for (name, ring) in &self.inner.rings {
            counters.push(name, ring.unread());
        }
        Ok(counters)
    }
}

fn file_key(device: u64, inode: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let (first, second) = key.split_at_mut(8);
    first.copy_from_slice(&device_to_kernel(device).to_ne_bytes());
    second.copy_from_slice(&inode.to_ne_bytes());
    key
}

fn remove(handle: &MapHandle, map: &'static str, key: &[u8]) -> Result<(), Error> {
    match handle.delete(key) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error::Map {
            map,
            attempt: "remove from",
            source,
        }),
    }
}

/// `struct settings`, shared with the kernel.
#[derive(Debug)]
pub(crate) struct SettingsMemory {
    memory: SharedMemory,
    /// [`Settings::calls`] as last said, and whether a TLS call has been probed: the kernel looks only if both hold.
    calls_wanted: AtomicBool,
    calls_probed: AtomicBool,
}

impl SettingsMemory {
    pub(crate) fn map(handle: &MapHandle) -> Result<Self, Error> {
        let memory = SharedMemory::map(handle, 0, size_of::<kernel::settings>(), true).map_err(|source| {
            Error::System {
                attempt: "share the settings",
                source,
            }
        })?;
        Ok(Self {
            memory,
            calls_wanted: AtomicBool::new(false),
            calls_probed: AtomicBool::new(false),
        })
    }

    fn store(&self, offset: usize, value: u32) {
        if let Some(at) = self.memory.at::<AtomicU32>(offset) {
            // SAFETY: inside the mapping, which lives as long as self; the kernel reads and writes whole words.
            unsafe { at.as_ref() }.store(value, Ordering::Release);
        }
    }

    pub(crate) fn write(&self, settings: Settings) {
        let direction = match settings.direction {
            DirectionFilter::Ingress => kernel::direction_setting::SETTING_INGRESS,
            DirectionFilter::Egress => kernel::direction_setting::SETTING_EGRESS,
            DirectionFilter::EgressInternal => kernel::direction_setting::SETTING_EGRESS_INTERNAL,
            DirectionFilter::EgressExternal => kernel::direction_setting::SETTING_EGRESS_EXTERNAL,
            DirectionFilter::All => kernel::direction_setting::SETTING_ALL,
        };
        self.store(offset_of!(kernel::settings, direction), direction.0);
        self.store(
            offset_of!(kernel::settings, ignore_loopback),
            u32::from(settings.ignore_loopback),
        );
        self.store(offset_of!(kernel::settings, call_cap), settings.call_cap);
        self.store(
            offset_of!(kernel::settings, dns_queries),
            u32::from(settings.dns_queries),
        );
        self.calls_wanted.store(settings.calls, Ordering::SeqCst);
        self.write_calls();
    }

    pub(crate) fn calls_probed(&self) {
        self.calls_probed.store(true, Ordering::SeqCst);
        self.write_calls();
    }

    fn write_calls(&self) {
        let calls = self.calls_wanted.load(Ordering::SeqCst) && self.calls_probed.load(Ordering::SeqCst);
        self.store(offset_of!(kernel::settings, calls), u32::from(calls));
    }

    pub(crate) fn own_pid(&self, pid: Option<Pid>) {
        self.store(offset_of!(kernel::settings, own_pid), pid.map_or(0, |pid| pid.0));
    }

    pub(crate) fn data_wake_bytes(&self, bytes: u32) {
        self.store(offset_of!(kernel::settings, data_wake_bytes), bytes);
    }

    pub(crate) fn trace_modules(&self, modules: u32) {
        self.store(offset_of!(kernel::settings, trace_modules), modules);
    }

    pub(crate) fn shed(&self, shed: Shed) {
        let shed = match shed {
            Shed::Nothing => kernel::shed_setting::SHED_NOTHING,
            Shed::New => kernel::shed_setting::SHED_NEW,
            Shed::All => kernel::shed_setting::SHED_ALL,
        };
        self.store(offset_of!(kernel::settings, shed), shed.0);
    }

    pub(crate) fn reader_sleeps(&self, sleeps: bool) {
        self.store(offset_of!(kernel::settings, reader_sleeps), u32::from(sleeps));
    }
}
