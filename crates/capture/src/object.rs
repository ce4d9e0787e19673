//! Loads the object: the right one for this kernel, in the sizes asked for, without the groups that do not load.

use std::collections::BTreeSet;
use std::sync::Mutex;

use libbpf_rs::{
    Object, ObjectBuilder, OpenObject, PrintLevel, ProgramAttachType, num_possible_cpus, set_print,
};

use crate::bindings::{OBJECT, OBJECT_5_10};
use crate::group::{Group, GroupReport};
use crate::host::{KernelVersion, LEAST_KERNEL, MULTI_LINKS};
use crate::shared::page_size;
use crate::{Error, Options};

/// What loaded.
pub(crate) struct Loaded {
    pub(crate) object: Object,
    pub(crate) groups: BTreeSet<Group>,
    pub(crate) left_out: Vec<GroupReport>,
    /// The user probes were loaded for links of many offsets.
    pub(crate) multi: bool,
}

/// The last complaint of libbpf, which is the kernel's reason when a load fails.
static COMPLAINT: Mutex<String> = Mutex::new(String::new());

#[allow(clippy::needless_pass_by_value, reason = "the type of the callback")]
fn note(level: PrintLevel, text: String) {
    let text = text.trim_end();
    tracing::trace!(level = ?level, "{text}");
    if level == PrintLevel::Warn
        && let Ok(mut complaint) = COMPLAINT.lock()
        && let Some(reason) = reason_of(text)
    {
        *complaint = reason;
    }
}

/// The line of a complaint that says why: of a verifier log the last before its statistics.
fn reason_of(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| {
        !(line.trim().is_empty() || line.contains("PROG LOAD LOG") || line.starts_with("processed "))
    })?;
    if line.contains("failed to load") {
        return None;
    }
    Some(line.chars().take(300).collect())
}

/// Loads all groups; where that fails, each group that loads.
pub(crate) fn load(options: &Options) -> Result<Loaded, Error> {
    set_print(Some((PrintLevel::Debug, note)));
    let version = if options.oldest_build {
        Some(LEAST_KERNEL)
    } else {
        KernelVersion::running()
    };
    let bytes = if version.is_some_and(|version| version < KernelVersion(5, 12)) {
        OBJECT_5_10
    } else {
        OBJECT
    };
    let multi = version.is_none_or(|version| version >= MULTI_LINKS);
    let load_groups = |groups: &BTreeSet<Group>| load_groups(bytes, options, multi, groups);
    let all: BTreeSet<Group> = Group::ALL.into();
    if let Ok(object) = load_groups(&all) {
        return Ok(Loaded {
            object,
            groups: all,
            left_out: Vec::new(),
            multi,
        });
    }
    let mut groups = BTreeSet::from([Group::Sockets]);
    let mut object = load_groups(&groups)?;
    let mut left_out = Vec::new();
    for group in Group::ALL.into_iter().filter(|group| *group != Group::Sockets) {
        let more = groups.iter().copied().chain([group]).collect();
        match load_groups(&more) {
            Ok(loaded) => (object, groups) = (loaded, more),
            Err(error) => left_out.push(GroupReport {
                group,
                problem: Some(error.to_string()),
            }),
        }
    }
    Ok(Loaded {
        object,
        groups,
        left_out,
        multi,
    })
}

fn load_groups(
    bytes: &[u8],
    options: &Options,
    multi: bool,
    groups: &BTreeSet<Group>,
) -> Result<Object, Error> {
    let mut open = ObjectBuilder::default()
        .name("qtap")
        .and_then(|builder| builder.open_memory(bytes))
        .map_err(|source| Error::Open {
            attempt: "open",
            source,
        })?;
    set_sizes(&mut open, options)?;
    for mut program in open.progs_mut() {
        let section = program.section().to_string_lossy().into_owned();
        let wanted = Group::of_section(&section).is_some_and(|group| groups.contains(&group));
        program.set_autoload(wanted);
        if multi && (section.starts_with("uprobe") || section.starts_with("uretprobe")) {
            program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
        }
    }
    if let Ok(mut complaint) = COMPLAINT.lock() {
        complaint.clear();
    }
    open.load().map_err(|source| Error::Load {
        reason: COMPLAINT
            .lock()
            .map(|complaint| complaint.clone())
            .unwrap_or_default(),
        source,
    })
}

fn set_sizes(open: &mut OpenObject, options: &Options) -> Result<(), Error> {
    let cpus = num_possible_cpus().map_err(|source| Error::Open {
        attempt: "count processors",
        source,
    })?;
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    let data = ring_size("data_ring", options.data_ring)?;
    let control = ring_size("control_ring", options.control_ring)?;
    for mut map in open.maps_mut() {
        let entries = match map.name().to_string_lossy().as_ref() {
            "data_ring" => data,
            "control_ring" => control,
            "trace_ring" => ring_size("trace_ring", options.trace_ring)?,
            "connections" => options.max_connections.max(1),
            "scratches" => cpus,
            ".rodata.legacy" => {
                map.set_initial_value(&cpus.to_ne_bytes())
                    .map_err(|source| Error::Open {
                        attempt: "set the number of processors",
                        source,
                    })?;
                continue;
            }
            _ => continue,
        };
        map.set_max_entries(entries).map_err(|source| Error::Open {
            attempt: "set the size of a map",
            source,
        })?;
    }
    Ok(())
}

/// Rings have a power of two of pages.
pub(crate) fn ring_size(option: &'static str, bytes: usize) -> Result<u32, Error> {
    bytes
        .max(page_size())
        .checked_next_power_of_two()
        .and_then(|size| u32::try_from(size).ok())
        .filter(|size| *size <= 1 << 30)
        .ok_or_else(|| Error::Option {
            option,
            problem: format!("{bytes} bytes is more than 1 GiB"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes_are_powers_of_two_of_pages() {
        assert_eq!(ring_size("data_ring", 0).unwrap(), 4096);
        assert_eq!(ring_size("data_ring", 5000).unwrap(), 8192);
        assert_eq!(ring_size("data_ring", 16 << 20).unwrap(), 16 << 20);
        assert!(ring_size("data_ring", 2 << 30).is_err());
    }

    #[test]
    fn the_reason_is_the_last_line_of_the_verifier() {
        let log = "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n0: (85) call\nunknown func bpf_loop#181\n\
                   processed 1 insns\n-- END PROG LOAD LOG --";
        assert_eq!(reason_of(log).unwrap(), "unknown func bpf_loop#181");
    }
}
