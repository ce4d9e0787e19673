//! Which capabilities are needed, and dropping the others.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use qtap_capture::probes_are_perf_events;

use super::Role;

/// What a running agent needs:
///
/// * to load the programs, to write maps (before 5.19 any call of bpf(2)), and to probe libraries that are found later;
/// * to read maps, environment and root folder of the processes of all users in /proc;
/// * to read programs and libraries, and a configuration that other users own;
/// * to open a mapped file that was replaced, or that lies in another mount namespace, in /proc/PID/map_files;
/// * to bring its workers back from the background when they fall behind.
const NEEDED: [Capability; 6] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_CHECKPOINT_RESTORE,
    Capability::CAP_SYS_NICE,
];

/// These were part of `CAP_SYS_ADMIN` once (Linux 5.8, 5.9), and still are where a container runtime does not know them.
const ONCE_ADMIN: [Capability; 3] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_CHECKPOINT_RESTORE,
];

/// Ports below need a capability, wherever the system says nothing else.
const FREE_PORTS: u16 = 1024;

/// What `role` needs of what this thread has.
pub(super) fn needed(role: Role) -> CapsHashSet {
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    choose(
        role,
        &permitted,
        probes_are_perf_events() && wants_admin_for_perf_events(&paranoid),
    )
}

fn choose(role: Role, permitted: &CapsHashSet, admin_for_probes: bool) -> CapsHashSet {
    if role == Role::Holder {
        // To be asked about whole file systems, those that are mounted later among them.
        let needed = CapsHashSet::from([Capability::CAP_SYS_ADMIN]);
        return needed.intersection(permitted).copied().collect();
    }
    let mut needed = CapsHashSet::from(NEEDED);
    match role {
        // The server is bound after the drop, so that it runs without what binding needs no more than this.
        Role::Agent { port: 1..FREE_PORTS } => {
            needed.insert(Capability::CAP_NET_BIND_SERVICE);
        }
        Role::Agent { .. } | Role::Holder | Role::Doctor => {}
        // The command may have become another user's.
        Role::Check => {
            needed.insert(Capability::CAP_KILL);
        }
    }
    if admin_for_probes
        || ONCE_ADMIN
            .iter()
            .any(|capability| !permitted.contains(capability))
    {
        needed.insert(Capability::CAP_SYS_ADMIN);
    }
    needed.intersection(permitted).copied().collect()
}

/// Debian and Ubuntu know a level above 2, at which perf_event_open(2) asks for `CAP_SYS_ADMIN` instead of `CAP_PERFMON`.
fn wants_admin_for_perf_events(paranoid: &str) -> bool {
    paranoid.trim().parse::<i32>().is_ok_and(|level| level > 2)
}

/// Leaves this thread with `kept`, and nothing to be had by an exec. Returns what it has now, and what it had besides.
pub(super) fn drop_all_but(kept: &CapsHashSet) -> Result<(CapsHashSet, CapsHashSet), CapsError> {
    let before = caps::read(None, CapSet::Permitted)?;
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        caps::clear(None, CapSet::Bounding)?;
    }
    if caps::runtime::ambient_set_supported().is_ok() {
        caps::clear(None, CapSet::Ambient)?;
    }
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, kept)?;
    caps::set(None, CapSet::Permitted, kept)?;
    let now = caps::read(None, CapSet::Permitted)?;
    let dropped = before.difference(&now).copied().collect();
    Ok((now, dropped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_everything_six_are_kept() {
        let kept = choose(Role::Agent { port: 10001 }, &caps::all(), false);
        assert_eq!(kept, CapsHashSet::from(NEEDED));
    }

    #[test]
    fn the_holder_keeps_one() {
        let kept = choose(Role::Holder, &caps::all(), false);
        assert_eq!(kept, CapsHashSet::from([Capability::CAP_SYS_ADMIN]));
    }

    #[test]
    fn what_is_not_there_is_not_asked_for() {
        let mut permitted = caps::all();
        permitted.remove(&Capability::CAP_SYS_PTRACE);
        let kept = choose(Role::Agent { port: 10001 }, &permitted, false);
        assert_eq!(kept.len(), NEEDED.len() - 1);
        assert!(choose(Role::Doctor, &CapsHashSet::new(), true).is_empty());
    }

    #[test]
    fn admin_stands_in_where_the_newer_ones_are_missing() {
        let mut permitted = caps::all();
        permitted.remove(&Capability::CAP_BPF);
        assert!(choose(Role::Doctor, &permitted, false).contains(&Capability::CAP_SYS_ADMIN));
        assert!(!choose(Role::Doctor, &caps::all(), false).contains(&Capability::CAP_SYS_ADMIN));
        assert!(choose(Role::Doctor, &caps::all(), true).contains(&Capability::CAP_SYS_ADMIN));
    }

    #[test]
    fn a_role_keeps_what_it_alone_needs() {
        let low = choose(Role::Agent { port: 80 }, &caps::all(), false);
        assert!(low.contains(&Capability::CAP_NET_BIND_SERVICE));
        let check = choose(Role::Check, &caps::all(), false);
        assert!(check.contains(&Capability::CAP_KILL) && !low.contains(&Capability::CAP_KILL));
    }

    #[test]
    fn the_level_of_debian_is_told_from_those_of_the_kernel() {
        for (text, wants) in [
            ("-1\n", false),
            ("2\n", false),
            ("3\n", true),
            ("4\n", true),
            ("", false),
        ] {
            assert_eq!(wants_admin_for_perf_events(text), wants, "{text:?}");
        }
    }
}
