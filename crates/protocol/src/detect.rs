//! Which protocol a connection speaks (P-D1 to P-D4).

/// Application protocols that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2, over TLS or cleartext.
    Http2,
}

impl Protocol {
    /// Name in events (`l7Protocol`) and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

/// What is known besides the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// Protocol that ALPN settled on.
    pub alpn: Option<&'a [u8]>,
    /// Port of the server end.
    pub server_port: u16,
    /// The connection began before its first captured byte.
    pub midstream: bool,
}

/// Answer of [`detect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// Not enough bytes to tell.
    NeedMore,
    /// Settled.
    Known(Protocol),
    /// None of the protocols known here; give up.
    Other,
}
