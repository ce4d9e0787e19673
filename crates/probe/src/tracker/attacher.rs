//! The one who attaches: `qtap-capture` in the agent, a recorder in tests.

use std::path::Path;

use qtap_capture::{Hook, Pid};

/// Attaches probes to files.
pub trait Attacher {
    /// Keeps probes attached while it lives.
    type Links: Send + 'static;

    /// Attaches `points` (what is there, offset in the file) of `file`, for `pid` alone or for everybody. `file` is
    /// a path that the agent can open now, of the form `/proc/self/fd/N`; it need not stay valid after the call.
    ///
    /// # Errors
    /// Why nothing was attached, in words for the user.
    fn attach(&self, file: &Path, pid: Option<Pid>, points: &[(Hook, u64)]) -> Result<Self::Links, String>;

    /// Do not report mappings of this file any more: nothing is in it.
    fn mark_known(&self, device: u64, inode: u64);

    /// Report mappings of this file again.
    fn forget(&self, device: u64, inode: u64);

    /// A process in which goroutines may have been in calls that are probed for everybody is no more.
    fn forget_go_calls(&self, pid: Pid);
}

impl<A: Attacher + ?Sized> Attacher for std::sync::Arc<A> {
    type Links = A::Links;

    fn attach(&self, file: &Path, pid: Option<Pid>, points: &[(Hook, u64)]) -> Result<Self::Links, String> {
        (**self).attach(file, pid, points)
    }

    fn mark_known(&self, device: u64, inode: u64) {
        (**self).mark_known(device, inode);
    }

    fn forget(&self, device: u64, inode: u64) {
        (**self).forget(device, inode);
    }

    fn forget_go_calls(&self, pid: Pid) {
        (**self).forget_go_calls(pid);
    }
}
