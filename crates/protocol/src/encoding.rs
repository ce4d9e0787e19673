//! Content codings of bodies (P-B1 to P-B3).
