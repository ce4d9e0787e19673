//! What a transaction turned its connection or stream into.

use qtap_protocol::{ResponseHead, Upgrade};

use super::Open;

/// Whether it is a CONNECT without `:protocol` that succeeded.
pub(super) fn is_tunnel(open: &Open) -> bool {
    let succeeded = |head: &ResponseHead| (200..=299).contains(&head.status);
    open.request.method == "CONNECT"
        && open.request.protocol.is_none()
        && open.response.as_ref().is_some_and(succeeded)
}

/// `upgraded_to` of a transaction that ended in an upgrade, from its own heads.
pub(super) fn upgrade_of(open: &Open) -> Option<Upgrade> {
    let response = open.response.as_ref();
    // A server that names nothing means what was asked for.
    let asked = || {
        open.request
            .field("upgrade")
            .filter(|_| response.is_some_and(|head| head.status == 101))
    };
    let token = (open.request.protocol.as_deref())
        .or_else(|| response.and_then(|head| head.field("upgrade")))
        .or_else(asked);
    match token.map(|token| String::from_utf8_lossy(token).trim().to_ascii_lowercase()) {
        Some(token) if token == "websocket" => Some(Upgrade::WebSocket),
        Some(token) if token == "h2c" => Some(Upgrade::H2c),
        Some(token) if open.request.method != "CONNECT" => Some(Upgrade::Other(token)),
        _ => Some(Upgrade::Tunnel),
    }
}
