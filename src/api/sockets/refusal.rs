//! The answer to a request that the HTTP parser refuses. No service ever sees such a request, and the parser's own answer has
//! neither a body nor the headers that a browser's page needs to read it. So the socket looks at each head as it arrives, and
//! writes a better answer in the place of the parser's.

use serde_json::json;

/// The longest URL that the parser takes, in bytes (crate `http`).
const MAX_URL: usize = 65_534;
/// The bytes of a line that are kept.
const KEPT: usize = 300;
/// The bytes of a head that are looked at: more than the parser takes. What follows is not one.
const MAX_HEAD: usize = 256 * 1024;

/// The beginnings of the parser's answers. No answer of the server's own has one of these statuses and no body.
const REFUSALS: [&[u8]; 2] = [
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n",
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n",
];

/// The head of the request that is arriving, as far as its refusal may have to tell of it.
#[derive(Default)]
pub(super) struct ArrivingHead {
    /// The beginning of the line that is arriving.
    line: Vec<u8>,
    line_bytes: usize,
    /// Complete lines.
    lines: usize,
    /// The length of the first line, as far as it has come.
    first_line_bytes: usize,
    /// The first byte of the first line that a URL can't have.
    bad_byte: Option<u8>,
    /// The spaces of the first line. A valid one has two.
    spaces: usize,
    origin: Option<String>,
    bytes: usize,
    is_over: bool,
}

impl ArrivingHead {
    /// Takes note of bytes that came.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let seen = bytes.len().min(MAX_HEAD - self.bytes);
        self.bytes += seen;
        for &byte in &bytes[..seen] {
            if self.is_over {
                return;
            }
            if byte == b'\n' {
                self.end_line();
                continue;
            }
            self.line_bytes += 1;
            if self.line.len() < KEPT {
                self.line.push(byte);
            }
            if self.lines == 0 {
                self.first_line_bytes += 1;
                self.spaces += usize::from(byte == b' ');
                let is_bad =
                    !matches!(byte, b'\r' | b' ' | 0x21..=0x7e) || matches!(byte, b'"' | b'<' | b'>');
                if is_bad && self.bad_byte.is_none() {
                    self.bad_byte = Some(byte);
                }
            }
        }
    }

    fn end_line(&mut self) {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        // Empty lines before a request count for nothing.
        self.is_over = line.is_empty() && self.lines > 0;
        self.lines += usize::from(!line.is_empty());
        if let Some((name, value)) = line.split_at_checked(7)
            && name.eq_ignore_ascii_case(b"origin:")
            && let Ok(value) = std::str::from_utf8(value)
        {
            self.origin = Some(value.trim().to_owned());
        }
        self.line.clear();
        self.line_bytes = 0;
    }

    /// Returns the answer that takes the place of `written`, if that is a refusal of the parser.
    pub(super) fn find_answer(&self, written: &[u8], allowed_origins: Option<&[String]>) -> Option<Vec<u8>> {
        let place = REFUSALS.iter().position(|refusal| written.starts_with(refusal))?;
        let Reason { status, code, message } = self.reason(place == 1);
        let body = json!({ "success": false, "error": { "code": code, "message": message } }).to_string();
        let origin = match (allowed_origins, &self.origin) {
            (None, _) => Some("*"),
            (Some(allowed), Some(own)) if allowed.contains(own) => Some(own.as_str()),
            (Some(_), _) => None,
        };
        let cors = origin.map(|origin| format!("access-control-allow-origin: {origin}\r\nvary: origin\r\n"));
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-type: application/json\r\nconnection: close\r\n{}\r\n",
            body.len(),
            cors.unwrap_or_default()
        );
        Some([head.into_bytes(), body.into_bytes()].concat())
    }

    fn reason(&self, is_too_large: bool) -> Reason {
        if self.first_line_bytes > MAX_URL {
            return Reason {
                status: "414 URI Too Long",
                code: "PAYLOAD_TOO_LARGE",
                message: "the URL has more than 65534 bytes; a long list of filters can be sent in a body, with POST /collections/{collection}/query",
            };
        }
        if is_too_large {
            return Reason {
                status: "431 Request Header Fields Too Large",
                code: "PAYLOAD_TOO_LARGE",
                message: "the head of the request has more than 128 KiB or 96 headers; send fewer or shorter ones",
            };
        }
        if self.bad_byte.is_some_and(|byte| byte == b'"' || byte == b'<' || byte == b'>' || byte >= 0x80)
            || self.spaces > 2
        {
            return Reason {
                status: "400 Bad Request",
                code: "INVALID_FILTER",
                message: "the URL has a character that must be percent-encoded, such as a space, `\"`, `<`, `>` or a letter that is not ASCII; with curl write -G --data-urlencode 'filters={\"title\":\"…\"}', in JavaScript encodeURIComponent(…)",
            };
        }
        Reason {
            status: "400 Bad Request",
            code: "INVALID_BODY",
            message: "this is not a valid HTTP/1.1 request: its first line, a header, or its framing (Content-Length, Transfer-Encoding, Host) is malformed",
        }
    }
}

struct Reason {
    status: &'static str,
    code: &'static str,
    message: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(head: &str, allowed: Option<&[String]>) -> String {
        let mut arriving = ArrivingHead::default();
        // It may come in pieces of any length.
        head.as_bytes().chunks(3).for_each(|piece| arriving.note(piece));
        let written = [REFUSALS[0], b"date: now\r\n\r\n"].concat();
        String::from_utf8(arriving.find_answer(&written, allowed).unwrap()).unwrap()
    }

    #[test]
    fn the_answer_tells_what_to_encode_and_names_the_origin_of_an_allowed_page() {
        let head = "GET /x?filters={\"n\":1} HTTP/1.1\r\nhost: x\r\nOrigin: https://a.example\r\n\r\n";
        assert!(answer(head, None).contains("access-control-allow-origin: *"));
        let allowed = ["https://a.example".to_owned()];
        let of_allowed = answer(head, Some(&allowed));
        assert!(of_allowed.contains("access-control-allow-origin: https://a.example"));
        assert!(of_allowed.contains("--data-urlencode"));
        assert!(!answer(head, Some(&["https://b.example".to_owned()])).contains("access-control"));
        assert!(answer("GET /x y HTTP/1.1\r\n\r\n", None).contains("percent-encoded"));
        assert!(
            answer(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000)), None).starts_with("HTTP/1.1 414")
        );
        assert!(answer("GET /x HTTP/1.1\r\nhost x\r\n\r\n", None).contains("INVALID_BODY"));
    }

    #[test]
    fn an_answer_of_the_server_is_left_alone() {
        let own = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 90\r\n";
        assert_eq!(ArrivingHead::default().find_answer(own, None), None);
    }
}
