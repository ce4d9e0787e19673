//! The protocols: one module each, which makes the bytes and the two laps.

mod dns;
mod event_stream;
mod grpc;
mod http1;
mod http2;
mod kafka;
mod mysql;
mod postgres;
mod redis;
mod tls;
mod websocket;

use crate::exchange::Case;

/// All of them.
pub(crate) fn all() -> anyhow::Result<Vec<Case>> {
    let mut cases = vec![
        http1::case(),
        http2::case()?,
        grpc::case(),
        websocket::case(),
        event_stream::case(),
        redis::case(),
        mysql::case(),
        postgres::case(),
        kafka::case()?,
        dns::case()?,
    ];
    cases.extend(tls::cases()?);
    Ok(cases)
}
