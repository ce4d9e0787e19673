//! Classes of addresses and the direction label they give.

use std::net::IpAddr;

use qtap_capture::Role;

use crate::DirectionLabel;

/// Whether `ip` is loopback, link-local, private, shared (100.64/10) or unspecified: internal (DESIGN §5, capture.md §5.4).
#[must_use]
pub fn is_internal(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}

/// Label of a connection whose local process holds `role`.
#[must_use]
pub(crate) fn label(role: Role, remote: IpAddr) -> DirectionLabel {
    match role {
        Role::Server => DirectionLabel::Ingress,
        Role::Client if is_internal(remote) => DirectionLabel::EgressInternal,
        Role::Client => DirectionLabel::EgressExternal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_link_local_private_and_shared_addresses_are_internal() {
        let internal = [
            "127.0.0.1",
            "127.8.9.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
        ];
        for text in internal {
            assert!(is_internal(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_external() {
        for text in [
            "8.8.8.8",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_internal(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn accepted_connections_are_ingress_whatever_the_peer() {
        assert_eq!(
            label(Role::Server, "8.8.8.8".parse().unwrap()),
            DirectionLabel::Ingress
        );
        assert_eq!(
            label(Role::Client, "127.0.0.1".parse().unwrap()),
            DirectionLabel::EgressInternal
        );
        assert_eq!(
            label(Role::Client, "8.8.8.8".parse().unwrap()),
            DirectionLabel::EgressExternal
        );
    }
}
