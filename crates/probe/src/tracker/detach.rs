//! Taking every probe off at the end.

use super::files::Attachment;
use super::{Attacher, Tracker};

impl<A: Attacher> Tracker<A> {
    /// Takes every probe off, and returns when the kernel has done it.
    pub(super) fn detach(mut self) {
        self.save();
        let mut remover = self.remover;
        let of_processes = self
            .processes
            .into_values()
            .flat_map(|process| process.calls.into_values());
        let of_files = self
            .files
            .into_entries()
            .flat_map(|entry| [entry.secrets, entry.fallback, entry.calls]);
        for attachment in of_processes.chain(of_files) {
            if let Attachment::Attached { links, .. } = attachment {
                remover.remove(links);
            }
        }
        remover.finish();
    }
}
