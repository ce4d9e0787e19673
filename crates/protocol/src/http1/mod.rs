//! http1 parser.
