//! Loads the object: the right one for this kernel, in the sizes asked for, without the groups that do not load.

use std::collections::BTreeSet;
use std::sync::Mutex;

use libbpf_rs::{
    Object, ObjectBuilder, OpenMapMut, OpenObject, PrintLevel, ProgramAttachType, num_possible_cpus,
    set_print,
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
    // At level Warn it is the log of a program that was refused.
    if level != PrintLevel::Warn
        && let Some((program, instructions)) = verified(text)
    {
        tracing::trace!(program, instructions, "program verified");
        return;
    }
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
    // The error code, which the caller has, or a guess of libbpf's, at any refusal.
    let empty = ["failed to load", "program load failed", "try raising 'ulimit -l'"];
    if empty.iter().any(|phrase| line.contains(phrase)) {
        return None;
    }
    Some(line.chars().take(300).collect())
}

/// Verifier log of statistics only (`BPF_LOG_STATS`): without the reason of a refusal.
const LOG_STATISTICS: u32 = 4;

/// Program and instructions that the verifier walked through, of its statistics.
fn verified(text: &str) -> Option<(&str, u64)> {
    let (_, rest) = text.split_once("prog '")?;
    let (program, log) = rest.split_once("': -- BEGIN PROG LOAD LOG --")?;
    let counts = log.lines().find_map(|line| line.strip_prefix("processed "))?;
    Some((program, counts.split(' ').next()?.parse().ok()?))
}

/// Loads all groups; where that fails, each group that loads.
///
/// `transfers`: sockets are seen at the tracepoints of their transfers and not at the exit of system calls; only of use where the
/// kernel shows them.
pub(crate) fn load(options: &Options, transfers: bool) -> Result<Loaded, Error> {
    set_print(Some((PrintLevel::Debug, note)));
    let version = version(options);
    let kernel = Kernel { version, transfers };
    let bytes = if version.is_some_and(|version| version < KernelVersion(5, 12)) {
        OBJECT_5_10
    } else {
        OBJECT
    };
    let multi = links_many(version);
    let figures = tracing::enabled!(tracing::Level::TRACE);
    let load_groups = |groups: &BTreeSet<Group>| {
        // Statistics of the verifier come in place of its reasons.
        if figures && let Ok(object) = load_groups(bytes, options, kernel, groups, LOG_STATISTICS) {
            return Ok(object);
        }
        load_groups(bytes, options, kernel, groups, 0)
    };
    let mut left_out = Vec::new();
    let mut all: BTreeSet<Group> = Group::ALL.into();
    // Whole families of kernels refuse these. Tried alone that is told in milliseconds; with the others, once they are verified.
    if let Err(error) = trial(bytes, kernel, Group::IoUringHooks) {
        all.remove(&Group::IoUringHooks);
        left_out.push(GroupReport {
            group: Group::IoUringHooks,
            problem: Some(format!(
                "this kernel does not let its functions be hooked ({error})"
            )),
        });
    }
    if let Ok(object) = load_groups(&all) {
        return Ok(Loaded {
            object,
            groups: all,
            left_out,
            multi,
        });
    }
    let mut groups = BTreeSet::from([Group::Sockets]);
    let mut object = load_groups(&groups)?;
    for group in all.into_iter().filter(|group| *group != Group::Sockets) {
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

/// Whether a group loads alone, and if not, what the kernel said.
fn trial(bytes: &[u8], kernel: Kernel, group: Group) -> Result<(), String> {
    let smallest = Options {
        data_ring: 0,
        control_ring: 0,
        max_connections: 1,
        ..Options::default()
    };
    match load_groups(bytes, &smallest, kernel, &BTreeSet::from([group]), 0) {
        Ok(_) => Ok(()),
        Err(Error::Load { reason, source }) if reason.is_empty() => Err(source.to_string()),
        Err(Error::Load { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

/// User probes of one program in a file can be one link.
fn links_many(version: Option<KernelVersion>) -> bool {
    version.is_none_or(|version| version >= MULTI_LINKS)
}

/// The version that decides what is loaded.
pub(crate) fn version(options: &Options) -> Option<KernelVersion> {
    if options.oldest_build {
        Some(LEAST_KERNEL)
    } else {
        KernelVersion::running()
    }
}

/// What decides which programs are for this kernel.
#[derive(Clone, Copy)]
struct Kernel {
    version: Option<KernelVersion>,
    transfers: bool,
}

/// Whether this kernel is one for the program: what io_uring shows changed in [`URING_TRACED`] and in [`URING_REPEATED`].
fn exists(section: &str, kernel: Kernel) -> bool {
    let is_since = |least| kernel.version.is_none_or(|version| version >= least);
    match section {
        "tp_btf/sys_exit" => return !kernel.transfers,
        "tp_btf/sock_send_length" | "tp_btf/sock_recv_length" | "tp_btf/tcp_rcv_space_adjust" => {
            return kernel.transfers;
        }
        _ => {}
    }
    match Group::of_section(section) {
        Some(Group::IoUring) => is_since(URING_TRACED),
        Some(Group::IoUringHooks) if section.ends_with("io_req_post_cqe") => is_since(URING_REPEATED),
        Some(Group::IoUringHooks) => !is_since(URING_TRACED),
        _ => true,
    }
}

/// The tracepoint of completions has the request.
const URING_TRACED: KernelVersion = KernelVersion(5, 19);
/// `io_req_post_cqe` tells the completions of requests that complete more than once.
const URING_REPEATED: KernelVersion = KernelVersion(6, 10);

fn load_groups(
    bytes: &[u8],
    options: &Options,
    kernel: Kernel,
    groups: &BTreeSet<Group>,
    log_level: u32,
) -> Result<Object, Error> {
    let mut open = ObjectBuilder::default()
        .name("qtap")
        .and_then(|builder| builder.open_memory(bytes))
        .map_err(|source| Error::Open {
            attempt: "open",
            source,
        })?;
    set_sizes(&mut open, options)?;
    let multi = links_many(kernel.version);
    for mut program in open.progs_mut() {
        let section = program.section().to_string_lossy().into_owned();
        let wanted = Group::of_section(&section).is_some_and(|group| groups.contains(&group))
            && exists(&section, kernel);
        program.set_autoload(wanted);
        program.set_log_level(log_level);
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
    let initial = |map: &mut OpenMapMut<'_>, value: u32, attempt| {
        map.set_initial_value(&value.to_ne_bytes())
            .map_err(|source| Error::Open { attempt, source })
    };
    for mut map in open.maps_mut() {
        let entries = match map.name().to_string_lossy().as_ref() {
            "data_ring" => data,
            "control_ring" => control,
            "trace_ring" => ring_size("trace_ring", options.trace_ring)?,
            "connections" => options.max_connections.max(1),
            "scratches" => cpus,
            ".rodata.legacy" => {
                initial(&mut map, cpus, "set the number of processors")?;
                continue;
            }
            ".rodata.drops" => {
                let drops = u32::from(options.drop_per_million.is_some());
                initial(&mut map, drops, "set whether records are dropped")?;
                continue;
            }
            ".data.drops" => {
                let rate = options.drop_per_million.unwrap_or(0);
                initial(&mut map, rate, "set how many records are dropped")?;
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
    fn the_figure_of_the_verifier_is_told_with_its_program() {
        let log = "libbpf: prog 'sys_exit': -- BEGIN PROG LOAD LOG --\nverification time 7 usec\nstack depth 8+16\n\
                   processed 235002 insns (limit 1000000) max_states_per_insn 4\n-- END PROG LOAD LOG --";
        assert_eq!(verified(log), Some(("sys_exit", 235_002)));
        assert_eq!(verified("libbpf: prog 'sys_exit': found map"), None);
    }

    #[test]
    fn the_reason_is_the_last_line_of_the_verifier() {
        let log = "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n0: (85) call\nunknown func bpf_loop#181\n\
                   processed 1 insns\n-- END PROG LOAD LOG --";
        assert_eq!(reason_of(log).unwrap(), "unknown func bpf_loop#181");
    }
}
