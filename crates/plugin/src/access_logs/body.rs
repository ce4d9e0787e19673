//! Whether and how a body can be shown as text.

use qtap_engine::Body;

use crate::mime;

/// A body as text, if it is text: its type is not a binary one, its coding was removed, and it is UTF-8 (but for a
/// character that the limit cut in two).
pub(super) fn as_text<'a>(body: &'a Body, content_type: &str) -> Option<&'a str> {
    if mime::is_binary(content_type) || body.decode_error.is_some() {
        return None;
    }
    match std::str::from_utf8(&body.data) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && body.truncated => body
            .data
            .get(..error.valid_up_to())
            .and_then(|whole| std::str::from_utf8(whole).ok()),
        Err(_) => None,
    }
}
