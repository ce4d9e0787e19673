//! The whole kernel side in one value.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use libbpf_rs::{Iter, Link, MapCore, MapHandle, Object, ProgramMut};

use crate::control::SettingsMemory;
use crate::go_calls::GoCalls;
use crate::group::{Group, GroupReport};
use crate::host::shows_transfers;
use crate::mappings::{MappingEvents, Mappings};
use crate::object::{self, Loaded};
use crate::programs::LoadedPrograms;
use crate::ring::{Positions, Ring};
use crate::{Control, Error, Hook, Options, Pid, ProbeLinks, Reader, uprobe};

/// The loaded object and what is attached of it. Dropping it detaches everything; nothing is pinned, so the end of the process
/// does too, whatever ends it.
pub struct Capture {
    object: Object,
    groups: BTreeSet<Group>,
    left_out: Vec<GroupReport>,
    links: Vec<Link>,
    settings: Arc<SettingsMemory>,
    control: Control,
    multi: bool,
    /// Until the reader takes them; `None` where system calls show mappings.
    mappings: Mutex<Option<Mappings>>,
}

impl Capture {
    /// Loads the object, in part if some group does not load. Fails when not even [`Group::Sockets`] does.
    pub fn load(options: &Options) -> Result<Self, Error> {
        Self::load_with(options, MappingEvents::open())
    }

    /// The same with events that were opened before privileges were dropped.
    pub fn load_with(options: &Options, events: MappingEvents) -> Result<Self, Error> {
        let (loaded, mappings) = load(options, events)?;
        let Loaded {
            object,
            groups,
            left_out,
            multi,
        } = loaded;
        let settings = Arc::new(SettingsMemory::map(&handle(&object, ".data.settings")?)?);
        settings.write(options.settings);
        settings.own_pid(options.own_pid);
        let control = Control::new(
            Arc::clone(&settings),
            &handle(&object, "verdicts")?,
            handle(&object, "process_verdicts")?,
            handle(&object, "known_files")?,
            handle(&object, "traced_processes")?,
            handle(&object, "counters")?,
            handle(&object, "connections")?,
            handle(&object, "quic_counts")?,
            LoadedPrograms::of(&object)?,
            mappings.as_ref().map(Mappings::shared),
            vec![
                (
                    "control_ring_unread_bytes",
                    Positions::of(&handle(&object, "control_ring")?)?,
                ),
                (
                    "datagram_ring_unread_bytes",
                    Positions::of(&handle(&object, "datagram_ring")?)?,
                ),
                (
                    "data_ring_unread_bytes",
                    Positions::of(&handle(&object, "data_ring")?)?,
                ),
            ],
        )?;
        Ok(Self {
            object,
            groups,
            left_out,
            links: Vec::new(),
            settings,
            control,
            multi,
            mappings: Mutex::new(mappings),
        })
    }

    /// Whether sockets are seen where they transfer, and not at the exit of every system call of the host, which costs all programs
    /// something.
    #[must_use]
    pub fn sees_transfers(&self) -> bool {
        self.object
            .progs()
            .any(|program| program.name() == "sock_send_length" && program.autoload())
    }

    /// Attaches all groups that loaded, sockets and processes first; from then on events flow. Tells what became of each group.
    pub fn attach(&mut self) -> Vec<GroupReport> {
        let mut reports = self.left_out.clone();
        for group in Group::AT_ONCE {
            if self.groups.contains(&group) {
                let problem = match self.attach_group(group) {
                    Ok(0) => Some("nothing to hook on this kernel".to_owned()),
                    Ok(_) => None,
                    Err(error) => Some(error.to_string()),
                };
                reports.push(GroupReport { group, problem });
            }
        }
        let waiting = self.groups.iter().filter(|group| !Group::AT_ONCE.contains(group));
        reports.extend(waiting.map(|group| GroupReport {
            group: *group,
            problem: None,
        }));
        reports.sort_by_key(|report| report.group);
        reports
    }

    /// All programs of the group, or none; tells how many.
    fn attach_group(&mut self, group: Group) -> Result<usize, libbpf_rs::Error> {
        let mut links = Vec::new();
        for program in self.object.progs_mut() {
            let section = program.section().to_string_lossy().into_owned();
            if program.autoload() && Group::of_section(&section) == Some(group) {
                links.push(program.attach_trace()?);
            }
        }
        let attached = links.len();
        self.links.append(&mut links);
        Ok(attached)
    }

    /// Finds the connections that nobody told: those older than [`Self::attach`], after which this is to be called so that none falls between, and
    /// those whose opening found no room ([`Control::opened_lost`]). They are then told as [`crate::Opened`], the former with `midstream`, until half of the control ring is
    /// filled; more of them count as lost again. Reads all descriptors of all processes: a few milliseconds per ten thousand.
    pub fn scan_existing(&self) -> Result<(), Error> {
        let program = self.program("existing_connections")?;
        let link = program
            .attach_trace()
            .map_err(|source| Error::Existing(std::io::Error::other(source)))?;
        let mut iterator =
            Iter::new(&link).map_err(|source| Error::Existing(std::io::Error::other(source)))?;
        let mut output = Vec::new();
        iterator.read_to_end(&mut output).map_err(Error::Existing)?;
        Ok(())
    }

    /// Probes functions of a file at their file offsets, in one process or in all that map it, present and future. `path` is opened
    /// here and need not stay. Costs some 100 µs per probe on an idle host, more where many processes map the file.
    pub fn attach_uprobe(
        &self,
        path: impl AsRef<Path>,
        pid: Option<Pid>,
        hooks: &[(Hook, u64)],
    ) -> Result<ProbeLinks, Error> {
        if hooks.iter().any(|(hook, _)| hook.reads_calls()) {
            self.settings.calls_probed();
        }
        let mut links = uprobe::attach(&self.object, self.multi, path.as_ref(), pid, hooks)?;
        if let Some(pid) = pid.filter(|_| hooks.iter().any(|(hook, _)| hook.is_of_goroutines())) {
            links.forget_at_end(GoCalls::new(handle(&self.object, GoCalls::MAP)?), pid);
        }
        Ok(links)
    }

    /// A process in which Go's calls were probed for everybody is no more.
    pub fn forget_go_calls(&self, pid: Pid) -> Result<(), Error> {
        GoCalls::new(handle(&self.object, GoCalls::MAP)?).forget(pid)
    }

    /// The consumer of the rings. There must be only one.
    pub fn reader(&self) -> Result<Reader, Error> {
        let control = Ring::new(handle(&self.object, "control_ring")?)?;
        let data = Ring::new(handle(&self.object, "data_ring")?)?;
        let datagrams = Ring::new(handle(&self.object, "datagram_ring")?)?;
        let trace = Ring::new(handle(&self.object, "trace_ring")?)?;
        let mut mappings = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        Reader::new(
            control,
            data,
            datagrams,
            trace,
            mappings.take(),
            Arc::clone(&self.settings),
        )
    }

    /// What steers the kernel side.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    fn program(&self, name: &'static str) -> Result<ProgramMut<'_>, Error> {
        self.object
            .progs_mut()
            .find(|program| program.name() == name && program.autoload())
            .ok_or(Error::NoProgram(name))
    }
}

/// Sockets at their transfers and mappings as perf events, where the kernel has and allows both; else at the exit of system calls.
fn load(options: &Options, events: MappingEvents) -> Result<(Loaded, Option<Mappings>), Error> {
    if shows_transfers(object::version(options)) && !options.watch_system_calls {
        match events.0.map(|mappings| (object::load(options, true), mappings)) {
            Ok((Ok(loaded), mut mappings)) => {
                mappings.own_pid = options.own_pid;
                return Ok((loaded, Some(mappings)));
            }
            Ok((Err(error), _)) => tracing::info!(
                %error,
                "the kernel does not load the programs for transfers of sockets: all system calls are watched"
            ),
            Err(error) => tracing::info!(
                %error,
                "the kernel gives no perf events of mappings: all system calls are watched"
            ),
        }
    }
    Ok((object::load(options, false)?, None))
}

fn handle(object: &Object, name: &'static str) -> Result<MapHandle, Error> {
    let map = object
        .maps()
        .find(|map| map.name() == name)
        .ok_or(Error::NoMap(name))?;
    MapHandle::try_from(&map).map_err(|source| Error::Map {
        map: name,
        attempt: "open",
        source,
    })
}
