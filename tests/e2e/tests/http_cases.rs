//! What HTTP can do to a capture: bodies of every size and framing, codings, interim and empty responses, pipelines,
//! streams, upgrades; at both ends, in cleartext and over TLS.

#[path = "http_cases/bodies.rs"]
mod bodies;
#[path = "http_cases/cuts.rs"]
mod cuts;
#[path = "http_cases/http2.rs"]
mod http2;
#[path = "http_cases/sequences.rs"]
mod sequences;
#[path = "http_cases/site.rs"]
mod site;
#[path = "http_cases/upgrades.rs"]
mod upgrades;
