//! http2 parser.
