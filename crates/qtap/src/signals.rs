//! Signals as messages.

use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGINT, SIGTERM.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Receives signals from now on.
pub(crate) struct SignalInbox(Receiver<Request>);

impl SignalInbox {
    /// Takes over SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// When the system refuses a handler or a thread.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
        let (sender, receiver) = bounded(16);
        let forward = move || {
            for signal in signals.forever() {
                let request = if signal == SIGHUP {
                    Request::Reload
                } else {
                    Request::Stop
                };
                // A full queue already holds the same requests.
                let _ = sender.try_send(request);
            }
        };
        std::thread::Builder::new()
            .name("qtap-signals".to_owned())
            .spawn(forward)
            .context("cannot start a thread")?;
        Ok(Self(receiver))
    }

    /// The next request, or `None` after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Request> {
        self.0.recv_timeout(timeout).ok()
    }
}
