//! What the two ends agreed on (RFC 6455 §4, RFC 7692 §7.1, RFC 8441 §5).

use crate::{Field, RequestHead, ResponseHead};

/// Longest value kept of a field of the handshake.
const VALUE_BYTES: usize = 256;

/// permessage-deflate as agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deflate {
    /// The client's messages do not refer to those before them.
    pub client_no_context_takeover: bool,
    /// The same of the server's.
    pub server_no_context_takeover: bool,
}

/// What the handshake settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// `Sec-WebSocket-Protocol` of the response.
    pub subprotocol: Option<String>,
    /// `Sec-WebSocket-Extensions` of the response, as sent.
    pub extensions: Option<String>,
    /// permessage-deflate, if it is one of them.
    pub deflate: Option<Deflate>,
    /// There is an extension that is not known here: bits and opcodes that RFC 6455 reserves may have a meaning.
    pub is_foreign: bool,
}

impl Agreement {
    /// Reads the response; fields that were lost may leave the agreement unknown.
    #[must_use]
    pub fn read(response: &ResponseHead) -> Self {
        let joined = |name: &str| {
            let values: Vec<_> = values(&response.fields, name).collect();
            (!values.is_empty()).then(|| cut(&values.join(", ")))
        };
        let extensions = joined("sec-websocket-extensions");
        let mut agreement = Self {
            subprotocol: joined("sec-websocket-protocol"),
            ..Self::default()
        };
        for extension in extensions.iter().flat_map(|all| all.split(',')) {
            agreement.note(extension);
        }
        agreement.is_foreign |= response.partial && agreement.deflate.is_none();
        agreement.extensions = extensions;
        agreement
    }

    /// One extension with its parameters.
    fn note(&mut self, extension: &str) {
        let mut parts = extension.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        if name.is_empty() {
            return;
        }
        if !name.eq_ignore_ascii_case("permessage-deflate") {
            self.is_foreign = true;
            return;
        }
        let deflate = self.deflate.get_or_insert_default();
        for parameter in parts {
            let key = parameter.split('=').next().unwrap_or_default().trim();
            // How large a window the sender uses is of no matter to a reader that keeps the largest.
            if key.eq_ignore_ascii_case("client_no_context_takeover") {
                deflate.client_no_context_takeover = true;
            } else if key.eq_ignore_ascii_case("server_no_context_takeover") {
                deflate.server_no_context_takeover = true;
            }
        }
    }
}

/// Whether the exchange turned into a WebSocket: 101 with that token (that of the request, if the response names none), or an
/// extended CONNECT that succeeded.
#[must_use]
pub fn is_agreed(request: &RequestHead, response: &ResponseHead) -> bool {
    let is_token = |token: &[u8]| token.trim_ascii().eq_ignore_ascii_case(b"websocket");
    match &request.protocol {
        Some(protocol) => {
            &request.method[..] == b"CONNECT" && is_token(protocol) && (200..=299).contains(&response.status)
        }
        None => {
            let token = response.field("upgrade").or_else(|| request.field("upgrade"));
            response.status == 101 && token.is_some_and(is_token)
        }
    }
}

fn values<'a>(fields: &'a [Field], name: &'a str) -> impl Iterator<Item = String> + 'a {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| String::from_utf8_lossy(&field.value).trim().to_owned())
}

/// The beginning of `text`, whole characters.
fn cut(text: &str) -> String {
    let ends = (0..=VALUE_BYTES.min(text.len())).rev();
    ends.filter_map(|end| text.get(..end))
        .next()
        .unwrap_or(text)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Version;

    fn response(fields: &[(&'static str, &'static str)]) -> ResponseHead {
        ResponseHead {
            status: 101,
            reason: Bytes::new(),
            version: Version::Http11,
            fields: fields
                .iter()
                .map(|(name, value)| Field {
                    name: Bytes::from_static(name.as_bytes()),
                    value: Bytes::from_static(value.as_bytes()),
                })
                .collect(),
            partial: false,
            truncated: false,
            framing_conflict: false,
        }
    }

    #[test]
    fn permessage_deflate_is_read_with_its_parameters() {
        let agreed = Agreement::read(&response(&[
            ("Sec-WebSocket-Protocol", "chat.v2"),
            (
                "Sec-WebSocket-Extensions",
                "permessage-deflate; server_no_context_takeover; client_max_window_bits=12",
            ),
        ]));
        assert_eq!(agreed.subprotocol.as_deref(), Some("chat.v2"));
        assert_eq!(
            agreed.deflate,
            Some(Deflate {
                client_no_context_takeover: false,
                server_no_context_takeover: true,
            })
        );
        assert!(!agreed.is_foreign);
    }

    #[test]
    fn an_unknown_extension_is_foreign_and_none_is_none() {
        let agreed = Agreement::read(&response(&[("sec-websocket-extensions", "x-mux; a=1")]));
        assert!(agreed.is_foreign && agreed.deflate.is_none());
        assert_eq!(Agreement::read(&response(&[])), Agreement::default());
    }
}
