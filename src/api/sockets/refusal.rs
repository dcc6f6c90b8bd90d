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

/// The beginnings of the parser's answers, and the lines that may follow. No answer of the server's own has one of these statuses
/// and no body.
const REFUSALS: [&[u8]; 2] = [
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n",
];
/// A connection that was kept alive gets an answer without this line.
const CLOSE: &[u8] = b"connection: close\r\n";
const DATE: &[u8] = b"date: ";
/// The bytes of a date with the two line ends behind it.
const DATE_BYTES: usize = "Fri, 27 Nov 2026 12:00:00 GMT\r\n\r\n".len();

/// A refusal of the parser among bytes that are about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Where it begins. Before it is the rest of an earlier answer; it goes to the end.
    pub(super) begin: usize,
    is_too_large: bool,
}

/// Finds the refusal with which the bytes end. The parser says nothing after it.
pub(super) fn find_refusal(written: &[u8]) -> Option<Refusal> {
    let before_date = written.len().checked_sub(DATE.len() + DATE_BYTES)?;
    let (head, date) = written.split_at(before_date);
    if !date.starts_with(DATE) || !date.ends_with(b" GMT\r\n\r\n") {
        return None;
    }
    let head = head.strip_suffix(CLOSE).unwrap_or(head);
    let place = REFUSALS.iter().position(|refusal| head.ends_with(refusal))?;
    Some(Refusal { begin: head.len() - REFUSALS[place].len(), is_too_large: place == 1 })
}

/// Makes an answer of this module: JSON as every error, and readable for a page of this origin. The connection ends with it.
pub(super) fn answer(
    status: &str,
    more: &str,
    (code, message): (&str, &str),
    allowed_origins: Option<&[String]>,
    origin: Option<&str>,
) -> Vec<u8> {
    let body = json!({ "success": false, "error": { "code": code, "message": message } }).to_string();
    let origin = match (allowed_origins, origin) {
        (None, _) => Some("*"),
        (Some(allowed), Some(own)) => allowed.iter().map(String::as_str).find(|allowed| *allowed == own),
        // Nobody knows who asks. Where one origin is allowed, it can't be wrong: browsers compare.
        (Some([only]), None) => Some(only.as_str()),
        (Some(_), None) => None,
    };
    let cors = origin.map(|origin| format!("access-control-allow-origin: {origin}\r\nvary: origin\r\n"));
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-type: application/json\r\nconnection: close\r\n{more}{}\r\n",
        body.len(),
        cors.unwrap_or_default()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

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
    /// Takes note of bytes that came. Every request passes here, so whole lines are looked at together, and mostly not copied.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let seen = bytes.len().min(MAX_HEAD - self.bytes);
        self.bytes += seen;
        let mut rest = &bytes[..seen];
        while !rest.is_empty() && !self.is_over {
            match memchr::memchr(b'\n', rest) {
                Some(end) => {
                    self.note_part(&rest[..end]);
                    self.end_line(&rest[..end]);
                    rest = &rest[end + 1..];
                }
                None => {
                    self.note_part(rest);
                    self.keep(rest);
                    return;
                }
            }
        }
    }

    /// Takes note of a part of a line.
    fn note_part(&mut self, part: &[u8]) {
        self.line_bytes += part.len();
        if self.lines > 0 {
            return;
        }
        self.first_line_bytes += part.len();
        self.spaces += memchr::memchr_iter(b' ', part).count();
        let is_bad =
            |byte: &u8| !matches!(byte, b'\r' | b' ' | 0x21..=0x7e) || matches!(byte, b'"' | b'<' | b'>');
        self.bad_byte = self.bad_byte.or_else(|| part.iter().copied().find(is_bad));
    }

    fn keep(&mut self, part: &[u8]) {
        let kept = part.len().min(KEPT - self.line.len());
        self.line.extend_from_slice(&part[..kept]);
    }

    fn end_line(&mut self, last_part: &[u8]) {
        let is_whole = self.line.is_empty();
        if !is_whole {
            self.keep(last_part);
        }
        let line = if is_whole { &last_part[..last_part.len().min(KEPT)] } else { &self.line[..] };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
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

    /// Returns the answer that takes the place of a refusal of the parser.
    pub(super) fn answer(&self, refusal: Refusal, allowed_origins: Option<&[String]>) -> Vec<u8> {
        let Reason { status, code, message } = self.reason(refusal.is_too_large);
        answer(status, "", (code, message), allowed_origins, self.origin.as_deref())
    }

    /// Returns the origin of the page that asks, if that line has come.
    pub(super) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
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
        let refusal = find_refusal(&[REFUSALS[0], CLOSE, LINE].concat()).unwrap();
        String::from_utf8(arriving.answer(refusal, allowed)).unwrap()
    }

    const LINE: &[u8] = b"date: Fri, 27 Nov 2026 12:00:00 GMT\r\n\r\n";

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
    fn a_refusal_is_found_behind_the_answer_before_it() {
        let own = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
        for (why, begin, bytes) in [
            ("alone", 0, [REFUSALS[0], CLOSE, LINE].concat()),
            ("on a connection that was kept alive", 0, [REFUSALS[1], LINE].concat()),
            ("behind an answer", own.len(), [own, REFUSALS[0], LINE].concat()),
        ] {
            assert_eq!(find_refusal(&bytes).map(|refusal| refusal.begin), Some(begin), "{why}");
        }
    }

    #[test]
    fn an_answer_of_the_server_is_left_alone() {
        let with_body = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 90\r\n";
        for own in [&[with_body, LINE].concat(), &[REFUSALS[0], LINE, b"{}"].concat(), LINE, &b""[..]] {
            assert_eq!(find_refusal(own), None);
        }
    }
}
