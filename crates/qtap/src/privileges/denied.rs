//! The system calls that a running agent never makes and that somebody who took it over would want.
//!
//! A list of what is refused, not of what is allowed: what the C library, the allocator and the runtime of asynchronous code
//! call differs between their versions, and an agent that stops at an update of the C library is worse than what is left to
//! an intruder. Where it matters most the list is nearly closed: nothing is executed, no file is written, no socket is made.
//!
//! Whoever gives the agent something new to do at run time (a store that dials, a file that is written) takes it out here;
//! `tests/e2e/tests/privileges.rs` tells what is refused.

use libc::c_long;

/// Refused whatever the arguments.
#[rustfmt::skip]
const ALWAYS: &[c_long] = &[
    // Other programs.
    libc::SYS_execve, libc::SYS_execveat,
    // Other processes' memory, descriptors and threads.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise,
    libc::SYS_process_mrelease, libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_kcmp, libc::SYS_move_pages,
    libc::SYS_migrate_pages, libc::SYS_tkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo,
    // Namespaces and mounts.
    libc::SYS_unshare, libc::SYS_setns, libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot,
    libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_mount_setattr, libc::SYS_fsopen, libc::SYS_fsconfig,
    libc::SYS_fsmount, libc::SYS_fspick,
    // The kernel itself.
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_reboot,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct, libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_syslog,
    libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_settimeofday, libc::SYS_clock_settime,
    libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_vhangup, libc::SYS_personality,
    libc::SYS_userfaultfd, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    // Requests in a ring are not seen by any filter.
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    // The network. The status server and the control socket listen already.
    libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen,
    // Files. What CAP_DAC_READ_SEARCH allows by handle passes by every mount; unlink stays, for the control socket.
    libc::SYS_open_by_handle_at, libc::SYS_fanotify_init, libc::SYS_memfd_create, libc::SYS_memfd_secret,
    libc::SYS_mkdirat, libc::SYS_mknodat, libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_symlinkat,
    libc::SYS_truncate, libc::SYS_fchmod, libc::SYS_fchmodat, FCHMODAT2, libc::SYS_fchown, libc::SYS_fchownat,
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, SETXATTRAT, libc::SYS_removexattr,
    libc::SYS_lremovexattr, libc::SYS_fremovexattr, REMOVEXATTRAT,
    // Other users.
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid,
    libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_setgroups,
];

/// Numbers that the libc crate does not have on all architectures; the same on all.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;

/// The libc crate does not have it there.
#[cfg(target_arch = "aarch64")]
const RENAMEAT: c_long = 38;

/// Those that newer architectures never had or have not any more.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OF_THE_ARCHITECTURE: &[c_long] = &[
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_creat, libc::SYS_rename, libc::SYS_renameat, libc::SYS_link, libc::SYS_symlink,
    libc::SYS_mkdir, libc::SYS_mknod, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_iopl, libc::SYS_ioperm,
    libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_kexec_file_load,
];
#[cfg(target_arch = "aarch64")]
const OF_THE_ARCHITECTURE: &[c_long] = &[RENAMEAT, libc::SYS_kexec_file_load];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OF_THE_ARCHITECTURE: &[c_long] = &[];

/// Refused as if the kernel did not know them, because their arguments are out of a filter's sight; callers then take the
/// older ones.
pub(super) const UNKNOWN: &[c_long] = &[libc::SYS_clone3, libc::SYS_openat2];

/// Of [`ALWAYS`], with what this architecture does without.
pub(super) fn always() -> impl Iterator<Item = c_long> {
    ALWAYS.iter().chain(OF_THE_ARCHITECTURE).copied()
}

/// Commands of bpf(2) that are needed once everything is loaded (`linux/bpf.h`): maps are read and written, programs are
/// asked what they missed, probes are attached, connections that were not told are looked for. No program or map is made, and none of others is reached by its id.
pub(super) const BPF_COMMANDS: [(u64, &str); 8] = [
    (1, "BPF_MAP_LOOKUP_ELEM"),
    (2, "BPF_MAP_UPDATE_ELEM"),
    (3, "BPF_MAP_DELETE_ELEM"),
    (4, "BPF_MAP_GET_NEXT_KEY"),
    (15, "BPF_OBJ_GET_INFO_BY_FD"),
    (28, "BPF_LINK_CREATE"),
    (33, "BPF_ITER_CREATE"),
    (34, "BPF_LINK_DETACH"),
];

/// Flags of open(2) that write or make a file.
pub(super) const WRITING: [libc::c_int; 4] = [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC];

/// Requests of ioctl(2) that type into the terminal.
pub(super) const TYPING: [u64; 2] = [0x5412, 0x541C];
