//! Two network namespaces joined by a link, for addresses that are neither loopback nor private.

use std::process::Command;

use crate::run_ok;

/// The namespaces; removed when dropped. The server side has a private and a public address of each family.
pub struct Namespaces {
    client: String,
    server: String,
}

impl Namespaces {
    /// Private address of the server.
    pub const PRIVATE_V4: &str = "10.91.0.1";
    /// Public address of the server (RFC 5737).
    pub const PUBLIC_V4: &str = "198.51.100.1";
    /// Private address of the server (RFC 4193).
    pub const PRIVATE_V6: &str = "fd91::1";
    /// Public address of the server (RFC 3849).
    pub const PUBLIC_V6: &str = "2001:db8:91::1";

    /// Makes them; the names hold the pid, so that runs side by side do not meet.
    #[must_use]
    pub fn create() -> Self {
        let suffix = std::process::id();
        let namespaces = Self {
            client: format!("qtapc{suffix}"),
            server: format!("qtaps{suffix}"),
        };
        let (client, server) = (namespaces.client.as_str(), namespaces.server.as_str());
        let link = |side: &str| format!("q{side}{suffix}");
        let (near, far) = (link("c"), link("s"));
        ip(&["netns", "add", client]);
        ip(&["netns", "add", server]);
        ip(&[
            "link", "add", &near, "netns", client, "type", "veth", "peer", "name", &far, "netns", server,
        ]);
        for (namespace, link, addresses) in [
            (
                server,
                &far,
                [
                    Self::PRIVATE_V4,
                    Self::PUBLIC_V4,
                    Self::PRIVATE_V6,
                    Self::PUBLIC_V6,
                ],
            ),
            (
                client,
                &near,
                ["10.91.0.2", "198.51.100.2", "fd91::2", "2001:db8:91::2"],
            ),
        ] {
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
            ip(&["-n", namespace, "link", "set", link, "up"]);
            for address in addresses {
                let length = if address.contains(':') { 64 } else { 24 };
                let mut arguments = vec!["-n", namespace, "address", "add"];
                let address = format!("{address}/{length}");
                arguments.extend([address.as_str(), "dev", link]);
                if length == 64 {
                    // Without it the address is not usable until a second later.
                    arguments.push("nodad");
                }
                ip(&arguments);
            }
        }
        namespaces
    }

    /// Name of the client's side, for ip-netns(8).
    #[must_use]
    pub fn client_name(&self) -> &str {
        &self.client
    }

    /// `command` on the client's side.
    #[must_use]
    pub fn client(&self, command: &Command) -> Command {
        inside(&self.client, command)
    }

    /// `command` on the server's side.
    #[must_use]
    pub fn server(&self, command: &Command) -> Command {
        inside(&self.server, command)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in [&self.client, &self.server] {
            // Nothing is left to do when it cannot be removed.
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

/// `ip netns exec` replaces itself, so the process id is that of `command`.
fn inside(namespace: &str, command: &Command) -> Command {
    let mut outer = Command::new("ip");
    outer
        .args(["netns", "exec", namespace])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

fn ip(arguments: &[&str]) {
    run_ok(Command::new("ip").args(arguments));
}
