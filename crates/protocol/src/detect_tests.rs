use super::*;

const H1: Detection = Detection::Known(Protocol::Http1);
const H2: Detection = Detection::Known(Protocol::Http2);
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];

fn start(client: &[u8], server: &[u8]) -> Detection {
    detect(client, server, &Hints::default())
}

fn midstream(client: &[u8], server: &[u8]) -> Detection {
    detect(
        client,
        server,
        &Hints {
            midstream: true,
            ..Hints::default()
        },
    )
}

fn with_alpn(alpn: &[u8], client: &[u8], server: &[u8]) -> Detection {
    detect(
        client,
        server,
        &Hints {
            alpn: Some(alpn),
            ..Hints::default()
        },
    )
}

/// Bytes that look like nothing, the same each time.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    })
    .take(length)
    .collect()
}

#[test]
fn p_d1_request_lines_of_any_method_at_every_split() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "\r\nTRACE /x HTTP/1.0\n",
        "PROPFIND /dav HTTP/1.1\r\n",
        "brew /pot HTTP/1.1\r\n",
    ] {
        for cut in 0..line.len() {
            assert_eq!(
                start(&line.as_bytes()[..cut], b""),
                Detection::NeedMore,
                "{line:?} cut at {cut}"
            );
        }
        assert_eq!(start(line.as_bytes(), b""), H1, "{line:?}");
    }
}

#[test]
fn text_that_merely_begins_with_a_method_is_other() {
    for text in [
        "GETTING STARTED\n",
        "GET a drink\r\n",
        "PUT it down, please\n",
        "POST HTTP/1.1\r\n",
        "HTTP rules\n",
    ] {
        assert_eq!(start(text.as_bytes(), b""), Detection::Other, "{text:?}");
    }
    assert_eq!(
        start(b"GET one two", b""),
        Detection::Other,
        "no version can follow"
    );
    assert_eq!(start(b"DESCRIBE rtsp://h/ RTSP/1.0\r\n", b""), Detection::Other);
}

#[test]
fn the_preface_of_http2_at_every_split() {
    for cut in 0..PREFACE.len() {
        assert_eq!(start(&PREFACE[..cut], b""), Detection::NeedMore, "cut at {cut}");
        assert_eq!(
            with_alpn(b"h2", &PREFACE[..cut], b""),
            Detection::NeedMore,
            "cut at {cut}"
        );
    }
    assert_eq!(start(PREFACE, b""), H2);
    assert_eq!(start(b"PRI * HTTP/2.0\r\n\r\nXX", b""), Detection::Other);
}

#[test]
fn a_server_that_speaks_first_decides_only_what_it_can() {
    assert_eq!(
        start(b"", SETTINGS_ACK),
        Detection::NeedMore,
        "the preface is yet to come"
    );
    assert_eq!(start(b"", b"SSH-2.0-OpenSSH_9.2\r\n"), Detection::Other);
    assert_eq!(start(b"", b"HTTP/1.1 408 Request Timeout\r\n"), H1);
    assert_eq!(start(b"", b"HTTP/1.1 4"), Detection::NeedMore);
}

#[test]
fn p_d2_alpn_and_the_other_direction_are_evidence() {
    assert_eq!(with_alpn(b"http/1.1", b"GE", b""), H1);
    assert_eq!(with_alpn(b"http/1.1", b"\x00\x01", b""), Detection::Other);
    assert_eq!(
        start(b"GET /a/path/that/goes/on", b"HTTP/1.1 414 URI Too Long\r\n"),
        H1
    );
    let long = format!("GET /{}", "a".repeat(5000));
    assert_eq!(start(long.as_bytes(), b""), H1, "a target beyond the window");
    let custom = format!("BREW /{}", "a".repeat(5000));
    assert_eq!(start(custom.as_bytes(), b""), Detection::Other);
    let hints = Hints {
        server_port: 80,
        ..Hints::default()
    };
    assert_eq!(
        detect(custom.as_bytes(), b"", &hints),
        H1,
        "the port breaks the tie"
    );
}

#[test]
fn p_d3_http1_is_recognised_in_the_middle() {
    assert_eq!(midstream(b"end of a form\r\nGET /next HTTP/1.1\r\n", b""), H1);
    assert_eq!(midstream(b"", b"...}HTTP/1.1 200 OK\r\n"), H1);
    assert_eq!(midstream(b"GET /next HTTP/1.1\r\nHost", b""), H1);
    assert_eq!(midstream(b"", b"just text\n"), Detection::NeedMore);
    assert_eq!(midstream(&noise(1, 4096), b""), Detection::Other);
    let hints = Hints {
        alpn: Some(b"http/1.1"),
        midstream: true,
        ..Hints::default()
    };
    assert_eq!(detect(b"\x00", b"", &hints), H1);
}

#[test]
fn p_d3_http2_is_recognised_in_the_middle() {
    assert_eq!(midstream(SETTINGS_ACK, b""), H2);
    assert_eq!(midstream(b"", &SETTINGS_ACK.repeat(3)), H2);
    assert_eq!(
        midstream(SETTINGS_ACK, b"plain text, no frames at all"),
        Detection::NeedMore
    );
    let hints = Hints {
        alpn: Some(b"h2"),
        midstream: true,
        ..Hints::default()
    };
    assert_eq!(detect(b"\x00", b"", &hints), H2);
}

#[test]
fn random_bytes_are_other() {
    for seed in 1..500 {
        let bytes = noise(seed, 64);
        assert_eq!(
            start(&bytes, &noise(seed + 1000, 64)),
            Detection::Other,
            "{bytes:?}"
        );
    }
}

#[test]
fn full_windows_always_settle() {
    for (client, server) in [
        (b"a".repeat(4096), b"HTTP".repeat(1024)),
        (vec![b'\n'; 4096], vec![b'\n'; 4096]),
        (noise(3, 4096), noise(4, 4096)),
    ] {
        for midstream in [false, true] {
            let hints = Hints {
                midstream,
                ..Hints::default()
            };
            assert_ne!(detect(&client, &server, &hints), Detection::NeedMore);
        }
    }
}
