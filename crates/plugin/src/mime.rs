//! Content types.

/// Media type without parameters, lower case, trimmed.
fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Category of a content type: `json`, `xml`, `html`, `css`, `javascript`, `form`, `event_stream`, `grpc`, `text`,
/// `image`, `audio`, `video`, `font`, `archive`, `binary`, `other`; empty without a type.
#[must_use]
pub fn category(content_type: &str) -> &'static str {
    let essence = essence(content_type);
    let Some((kind, subtype)) = essence.split_once('/') else {
        return if essence.is_empty() { "" } else { "other" };
    };
    match (kind, subtype) {
        (_, "json" | "x-ndjson" | "ndjson") => "json",
        (_, "xml") => "xml",
        (_, "html" | "xhtml+xml") => "html",
        (_, "css") => "css",
        (_, "javascript" | "ecmascript" | "x-javascript") => "javascript",
        ("application", "x-www-form-urlencoded") | ("multipart", "form-data") => "form",
        ("text", "event-stream") => "event_stream",
        ("application", grpc) if grpc.starts_with("grpc") => "grpc",
        ("image", _) => "image",
        ("audio", _) => "audio",
        ("video", _) => "video",
        ("font", _) => "font",
        ("application", archive) if is_archive(archive) => "archive",
        ("application", "octet-stream" | "pdf" | "wasm" | "protobuf" | "x-protobuf") => "binary",
        (_, suffixed) if suffixed.ends_with("+json") => "json",
        (_, suffixed) if suffixed.ends_with("+xml") => "xml",
        ("text", _) => "text",
        _ => "other",
    }
}

/// Whether a body of this type is not to be shown as text.
#[must_use]
pub fn is_binary(content_type: &str) -> bool {
    matches!(
        category(content_type),
        "image" | "audio" | "video" | "font" | "archive" | "binary" | "grpc"
    ) && !essence(content_type).ends_with("+xml")
}

fn is_archive(subtype: &str) -> bool {
    matches!(
        subtype,
        "zip"
            | "gzip"
            | "x-gzip"
            | "zstd"
            | "x-tar"
            | "x-bzip2"
            | "x-xz"
            | "x-7z-compressed"
            | "java-archive"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_categories() {
        for (content_type, expected) in [
            ("application/json; charset=utf-8", "json"),
            ("Application/Problem+JSON", "json"),
            ("text/html", "html"),
            ("text/plain;format=flowed", "text"),
            ("image/svg+xml", "image"),
            ("application/x-gzip", "archive"),
            ("application/octet-stream", "binary"),
            ("application/grpc+proto", "grpc"),
            ("text/event-stream", "event_stream"),
            ("nonsense", "other"),
            ("", ""),
        ] {
            assert_eq!(category(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn svg_is_text_and_png_is_not() {
        assert!(!is_binary("image/svg+xml"));
        assert!(is_binary("image/png"));
        assert!(!is_binary("application/json"));
    }
}
