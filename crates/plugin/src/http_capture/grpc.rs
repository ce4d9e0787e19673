//! The call of gRPC as stored.

use qtap_config::Level;

use crate::rpc::Rpc;
use crate::schema::{GrpcRequestPart, GrpcResponsePart, GrpcTransaction, HttpTransaction, ResponsePart};

/// `http`, which `level` shows of the exchange, with what is the call's own. No more than `limit` bytes of the messages of a side.
pub(super) fn transaction<'a>(
    http: HttpTransaction<'a>,
    rpc: &Rpc<'_>,
    level: Level,
    limit: usize,
) -> GrpcTransaction<'a> {
    let (service, method) = rpc.service_and_method();
    let is_full = level == Level::Full;
    GrpcTransaction {
        metadata: http.metadata,
        service,
        method,
        status: rpc.status_part(),
        request: GrpcRequestPart {
            http: http.request,
            messages: if is_full {
                rpc.request_messages(limit)
            } else {
                Vec::new()
            },
        },
        response: GrpcResponsePart {
            status: rpc.status_part(),
            http: ResponsePart {
                status: rpc.compatible_status(),
                ..http.response
            },
            messages: if is_full {
                rpc.response_messages(limit)
            } else {
                Vec::new()
            },
        },
        transaction_time: http.transaction_time,
        duration_ms: http.duration_ms,
        direction: http.direction,
        grpc_notes: rpc.notes(),
        notes: rpc.http_notes(),
    }
}
