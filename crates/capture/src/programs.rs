//! What the kernel counts of our own programs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libbpf_rs::{Object, Program, libbpf_sys};

use crate::Error;

/// The kernel does not run a tracepoint program inside itself on one processor; such runs are missed, and counted by it.
/// Of these there are two, and what one misses the other sees. The kernel keeps 15 characters of a name.
const SEEN_TWICE: [&str; 2] = ["inet_sock_set_s", "tcp_destroy_soc"];

/// Descriptors of the loaded programs whose missed runs are losses. By descriptor, because asking by id needs `CAP_SYS_ADMIN`.
#[derive(Debug)]
pub(crate) struct LoadedPrograms {
    descriptors: Vec<OwnedFd>,
}

impl LoadedPrograms {
    pub(crate) fn of(object: &Object) -> Result<Self, Error> {
        let is_alone = |program: &Program<'_>| {
            !SEEN_TWICE
                .iter()
                .any(|twice| program.name().to_string_lossy().starts_with(twice))
        };
        let descriptors = object
            .progs()
            .filter(Program::autoload)
            .filter(is_alone)
            .map(|program| program.as_fd().try_clone_to_owned())
            .collect::<io::Result<_>>();
        descriptors
            .map(|descriptors| Self { descriptors })
            .map_err(|source| Error::System {
                attempt: "keep the programs",
                source,
            })
    }

    /// Runs that the kernel left out so far. A system call per program.
    pub(crate) fn missed_runs(&self) -> Result<u64, Error> {
        self.descriptors.iter().map(missed_runs).sum()
    }
}

fn missed_runs(program: &OwnedFd) -> Result<u64, Error> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = u32::try_from(size_of_val(&info)).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `info`, and reads no pointer in it: all are null.
    let result = unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(program.as_raw_fd(), (&raw mut info).cast(), &raw mut length)
    };
    if result == 0 {
        Ok(info.recursion_misses)
    } else {
        Err(Error::last_os("read what the kernel counts of a program"))
    }
}
