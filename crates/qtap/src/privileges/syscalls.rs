//! Builds the system call filter.

use std::collections::BTreeMap;

use anyhow::Context as _;
use libc::c_long;
use qtap_capture::filter_system_calls;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::Role;
use super::denied::{BPF_COMMANDS, TYPING, UNKNOWN, WRITING, always};

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Puts the filter in force for all threads. `ward`: a process that may be ended.
///
/// # Errors
/// When the kernel has no such filters, or this architecture is not known.
pub(super) fn filter(role: Role, ward: Option<u32>) -> anyhow::Result<()> {
    let architecture =
        TargetArch::try_from(std::env::consts::ARCH).context("no filter for this architecture")?;
    // The first stays in force under the second: the kernel runs both and takes the stricter answer. It is no news that the C library
    // asks for what is unknown: it does so for each thread.
    for (rules, errno, is_logged) in [
        (unknown(), libc::ENOSYS, false),
        (denied(role, std::process::id(), ward)?, libc::EPERM, true),
    ] {
        let program = compile(rules, errno, architecture).context("cannot build the filter")?;
        filter_system_calls(&program, is_logged).context("the kernel does not take the filter")?;
    }
    Ok(())
}

fn unknown() -> Rules {
    UNKNOWN.iter().map(|&call| (call, Vec::new())).collect()
}

/// Calls, and for each the rules of which one must match; none means always.
fn denied(role: Role, own_pid: u32, ward: Option<u32>) -> Result<Rules, BackendError> {
    let mut rules: Rules = always().map(|call| (call, Vec::new())).collect();
    let own_pid = u64::from(own_pid);

    let other_commands = BPF_COMMANDS
        .iter()
        .map(|&(command, _)| differs(0, command))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_bpf, vec![SeccompRule::new(other_commands)?]);

    let writing = |argument| {
        let rule = |&flag: &libc::c_int| any(has(argument, u64::from(flag.unsigned_abs()))?);
        WRITING.iter().map(rule).collect::<Result<Vec<_>, _>>()
    };
    rules.insert(libc::SYS_openat, writing(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, writing(1)?);

    // Memory that is code: libraries are loaded by now.
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        rules.insert(
            call,
            vec![any(has(2, u64::from(libc::PROT_EXEC.unsigned_abs()))?)?],
        );
    }

    // Threads, not processes, and in the namespaces that we are in: only processes can be made in others.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let no_thread = condition(0, SeccompCmpOp::MaskedEq(thread), 0)?;
    rules.insert(libc::SYS_clone, vec![any(no_thread)?]);

    // abort(3) is a signal to oneself.
    rules.insert(libc::SYS_tgkill, vec![any(differs(0, own_pid)?)?]);
    if role != Role::Check {
        let others = [Some(own_pid), ward.map(u64::from)].into_iter().flatten();
        let others = others.map(|pid| differs(0, pid)).collect::<Result<_, _>>()?;
        rules.insert(libc::SYS_kill, vec![SeccompRule::new(others)?]);
        rules.insert(libc::SYS_pidfd_send_signal, Vec::new());
    }
    rules.insert(libc::SYS_prlimit64, vec![any(differs(0, 0)?)?]);

    let typing = TYPING
        .iter()
        .map(|&request| any(condition(1, SeccompCmpOp::Eq, request)?))
        .collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_ioctl, typing);
    Ok(rules)
}

/// Compares 32 bits: all that the kernel takes of these arguments.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn differs(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Ne, value)
}

fn has(argument: u8, flag: u64) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::MaskedEq(flag), flag)
}

fn any(condition: SeccompCondition) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition])
}

fn compile(
    rules: Rules,
    errno: libc::c_int,
    architecture: TargetArch,
) -> Result<Vec<libc::sock_filter>, BackendError> {
    let action = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?;
    let program: BpfProgram = filter.try_into()?;
    let program = program.into_iter().map(|instruction| libc::sock_filter {
        code: instruction.code,
        jt: instruction.jt,
        jf: instruction.jf,
        k: instruction.k,
    });
    Ok(no_x32().into_iter().chain(program).collect())
}

/// The numbers of x32 are those of x86-64 and a bit, under the same architecture: no filter by numbers sees them, so all are
/// refused.
#[cfg(target_arch = "x86_64")]
fn no_x32() -> Vec<libc::sock_filter> {
    const X32_BIT: u32 = 0x4000_0000;
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let instruction = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    vec![
        // `seccomp_data.nr` is first.
        instruction(LOAD_WORD, 0, 0),
        instruction(JUMP_IF_AT_LEAST, 1, X32_BIT),
        instruction(RETURN, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn no_x32() -> Vec<libc::sock_filter> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instructions that the kernel takes at most (`BPF_MAXINSNS`).
    const LONGEST: usize = 4096;

    #[test]
    fn the_filter_builds_for_both_architectures() {
        for architecture in [TargetArch::x86_64, TargetArch::aarch64] {
            let rules = denied(Role::Agent { port: 0 }, 1, Some(2)).unwrap();
            let program = compile(rules, libc::EPERM, architecture).unwrap();
            assert!(program.len() < LONGEST, "{} instructions", program.len());
        }
    }

    #[test]
    fn a_check_may_end_its_command() {
        let refused = |role| denied(role, 1, None).unwrap().contains_key(&libc::SYS_kill);
        assert!(refused(Role::Agent { port: 0 }) && !refused(Role::Check));
    }
}
