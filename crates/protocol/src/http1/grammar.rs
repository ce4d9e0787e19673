//! Lines of an HTTP/1 head (RFC 9112 §2 to §5), read as leniently as `protocols.md` §3.1 asks: bare LF, blanks
//! before the colon, folded fields, any token as method.
//!
//! `httparse` is not used: it refuses folded fields and blanks before the colon in requests. It is the
//! oracle of a test instead: whatever it accepts must be read alike here.

use crate::Version;

/// Methods of the IANA registry that are used on the wire, for places where a request line may be glued to
/// other bytes and an arbitrary token proves nothing.
const KNOWN_METHODS: [&[u8]; 29] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"QUERY",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"MKCALENDAR",
    b"ACL",
    b"PURGE",
    b"LINK",
    b"UNLINK",
    b"BIND",
    b"UNBIND",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"NOTIFY",
];

/// Whether `token` is a method of the registry.
pub(crate) fn is_known_method(token: &[u8]) -> bool {
    KNOWN_METHODS.contains(&token)
}

/// A request line in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) version: Version,
}

/// A status line in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusLine<'a> {
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) reason: &'a [u8],
}

const fn may_stand_in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Bytes that may stand in a token (RFC 9110 §5.6.2).
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = may_stand_in_token(byte);
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Whether all of `bytes`, at least one, are token bytes.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// Whether `byte` may stand in a request target; more than RFC 3986 allows, as senders do.
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// `line` without its line end: LF, or CR LF.
pub(crate) fn strip_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether `bytes`, the beginning of a head, are of a final response: one that is not 1xx.
pub(crate) fn begins_final_response(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    status_line(strip_line_end(line)).is_some_and(|line| line.status >= 200)
}

/// `bytes` without blanks at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let start = bytes
        .iter()
        .position(|byte| !is_blank(byte))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}

/// Version of `HTTP/1.x`; minor versions other than 0 are read as 1.1 (RFC 9110 §2.5).
pub(crate) fn version(bytes: &[u8]) -> Option<Version> {
    match bytes.strip_prefix(b"HTTP/1.")? {
        b"0" => Some(Version::Http10),
        [minor] if minor.is_ascii_digit() => Some(Version::Http11),
        _ => None,
    }
}

/// Reads a request line without its line end: exactly three fields between blanks.
pub(crate) fn request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let mut parts = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|part| !part.is_empty());
    let (method, target, last) = (parts.next()?, parts.next()?, parts.next()?);
    let fits = parts.next().is_none()
        && line.first().copied().is_some_and(is_token_byte)
        && is_token(method)
        && target.iter().copied().all(is_target_byte);
    let version = version(last)?;
    fits.then_some(RequestLine {
        method,
        target,
        version,
    })
}

/// Reads a status line without its line end; the reason may be empty or missing.
pub(crate) fn status_line(line: &[u8]) -> Option<StatusLine<'_>> {
    let (version_part, rest) = line.split_at_checked(8)?;
    let version = version(version_part)?;
    let (digits, reason) = rest.strip_prefix(b" ").map(trim_start)?.split_at_checked(3)?;
    let status = digits.iter().try_fold(0_u16, |status, digit| {
        digit
            .is_ascii_digit()
            .then(|| status * 10 + u16::from(digit - b'0'))
    })?;
    let ends_well = reason.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'));
    (ends_well && status >= 100).then(|| StatusLine {
        version,
        status,
        reason: trim(reason),
    })
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| *byte != b' ').unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

/// Where a request line starts in `line`, which may begin with other bytes when `cut` (the bytes before it
/// are missing) or when a body without line end came before it. A whole line may have any token as method;
/// what is glued to other bytes must be a method of the registry.
pub(crate) fn find_request_line(line: &[u8], cut: bool) -> Option<usize> {
    let is_whole = !cut && request_line(line).is_some();
    if is_whole {
        return Some(0);
    }
    let before_version = line.iter().rposition(|byte| *byte == b' ')?;
    let (rest, last) = line.split_at_checked(before_version)?;
    version(last.get(1..)?)?;
    let before_target = rest.iter().rposition(|byte| *byte == b' ')?;
    let (before, target) = rest.split_at_checked(before_target)?;
    let target = target.get(1..)?;
    let is_target = !target.is_empty() && target.iter().copied().all(is_target_byte);
    let method = KNOWN_METHODS
        .iter()
        .filter(|method| before.ends_with(method))
        .max_by_key(|method| method.len())?;
    let start = before.len().checked_sub(method.len())?;
    (is_target && !is_after_blank(before, start)).then_some(start)
}

/// Where a status line starts in `line`.
pub(crate) fn find_status_line(line: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(line, b"HTTP/1.").find(|start| {
        let candidate = line.get(*start..).and_then(status_line);
        let is_text =
            |status: StatusLine<'_>| status.reason.iter().all(|byte| *byte >= b' ' || *byte == b'\t');
        candidate.is_some_and(is_text) && !is_after_blank(line, *start)
    })
}

/// Logs and documentation quote heads after a blank (`< HTTP/1.1 200 OK`); real ones start a write.
fn is_after_blank(line: &[u8], start: usize) -> bool {
    start
        .checked_sub(1)
        .and_then(|before| line.get(before))
        .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let line = request_line(b"get http://h/p?q=1#f HTTP/1.0").unwrap();
        assert_eq!(
            (line.method, line.target),
            (&b"get"[..], &b"http://h/p?q=1#f"[..])
        );
        assert_eq!(line.version, Version::Http10);
        for good in [
            "CONNECT h:443 HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "M-SEARCH * HTTP/1.1",
            "X!~ /\u{e9} HTTP/1.7",
        ] {
            assert!(request_line(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "",
            "GET",
            "GET /",
            "GET / HTTP/2.0",
            "GET / a HTTP/1.1",
            "G(T / HTTP/1.1",
            " GET / HTTP/1.1",
            "PRI * HTTP/2.0",
        ] {
            assert!(request_line(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn status_lines() {
        for (line, status, reason) in [
            ("HTTP/1.1 200 OK", 200, "OK"),
            ("HTTP/1.1 404", 404, ""),
            ("HTTP/1.0 500 ", 500, ""),
            ("HTTP/1.1 200 Very  Well", 200, "Very  Well"),
        ] {
            let read = status_line(line.as_bytes()).unwrap();
            assert_eq!((read.status, read.reason), (status, reason.as_bytes()), "{line}");
        }
        for bad in [
            "HTTP/1.1",
            "HTTP/1.1 20",
            "HTTP/1.1 2000 x",
            "HTTP/1.1 099 x",
            "HTTP/2 200",
            "HTTP/1.1 2x0 a",
        ] {
            assert!(status_line(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn finds_lines_behind_other_bytes() {
        assert_eq!(find_request_line(b"{\"a\":1}POST /x HTTP/1.1", false), Some(7));
        assert_eq!(find_request_line(b"FOO /x HTTP/1.1", false), Some(0));
        assert_eq!(
            find_request_line(b"ST /x HTTP/1.1", true),
            None,
            "the end of POST is no method"
        );
        assert_eq!(find_request_line(b"GET /x HTTP/1.1", true), Some(0));
        assert_eq!(
            find_request_line(b"> GET /x HTTP/1.1", false),
            None,
            "a log that quotes a request"
        );
        assert_eq!(find_status_line(b"}HTTP/1.1 204 No Content"), Some(1));
        assert_eq!(find_status_line(b"< HTTP/1.1 200 OK"), None);
    }
}
