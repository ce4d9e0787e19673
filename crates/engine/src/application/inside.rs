//! Tunnels in what is spoken.

use qtap_capture::KernelTime;
use qtap_protocol::Upgrade;
use qtap_tls::Secret;

use super::{Application, State};
use crate::context::Context;
use crate::tunnel::{TOO_DEEP, Tunnel};
use crate::{ConnectionFacts, Settings};

impl Application {
    /// TLS in tunnels is left alone.
    pub(crate) const fn leave_tls(&mut self) {
        self.place.leaves_tls = true;
    }

    /// What follows an upgrade lies inside of the TLS of `facts`: if it is a tunnel, it leads elsewhere, and may be TLS itself.
    pub(crate) fn enter(&mut self, facts: &ConnectionFacts) {
        if self.upgraded != Some(Upgrade::Tunnel) {
            return;
        }
        let request = self.asked.take();
        self.state = match self.place.inside(0) {
            Some(place) => State::Tunnel(Box::new(Tunnel::new(facts, request.as_deref(), place))),
            None => {
                self.former.tunnels.count(Some(TOO_DEEP));
                State::Off
            }
        };
    }

    /// When a tunnel wants to be looked at.
    pub(crate) fn tunnels_due(&self, cx: &Context<'_>) -> KernelTime {
        match &self.state {
            State::Parsing(parsing) => parsing.assembler.tunnels_due(),
            State::Tunnel(tunnel) => tunnel.due(cx),
            State::Detecting(_) | State::Off => KernelTime(u64::MAX),
        }
    }

    /// Looks at the tunnels that are due.
    pub(crate) fn check_tunnels(&mut self, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Parsing(parsing) => parsing.assembler.check_tunnels(cx),
            State::Tunnel(tunnel) => tunnel.check(cx),
            State::Detecting(_) | State::Off => {}
        }
    }

    /// Whether ciphertext in a tunnel waits for a secret.
    pub(crate) fn is_waiting(&self) -> bool {
        match &self.state {
            State::Parsing(parsing) => parsing.assembler.is_waiting(),
            State::Tunnel(tunnel) => tunnel.is_waiting(),
            State::Detecting(_) | State::Off => false,
        }
    }

    /// Whether a secret may be of use to TLS in a tunnel.
    pub(crate) fn seeks_secrets(&self) -> bool {
        match &self.state {
            State::Parsing(parsing) => parsing.assembler.seeks_secrets(),
            State::Tunnel(tunnel) => tunnel.seeks_secrets(),
            State::Detecting(_) | State::Off => false,
        }
    }

    /// Whether it has waited for half of the time allowed.
    pub(crate) fn waits_in_vain(&self, now: KernelTime, settings: &Settings) -> bool {
        match &self.state {
            State::Parsing(parsing) => parsing.assembler.waits_in_vain(now, settings),
            State::Tunnel(tunnel) => tunnel.waits_in_vain(now, settings),
            State::Detecting(_) | State::Off => false,
        }
    }

    /// A secret of the process. Tells whether it is that of a tunnel.
    pub(crate) fn offer(&mut self, secret: &Secret, cx: &mut Context<'_>) -> bool {
        match &mut self.state {
            State::Parsing(parsing) => parsing.assembler.offer(secret, cx),
            State::Tunnel(tunnel) => tunnel.offer(secret, cx),
            State::Detecting(_) | State::Off => false,
        }
    }
}
