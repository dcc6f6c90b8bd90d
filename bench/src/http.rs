//! One keep-alive HTTP/1.1 connection: no pipelining, no compression, bodies by `content-length` only.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Holds a list of 20 documents, so that one read gets the answer. The buffer grows for a larger one.
const BUFFER_BYTES: usize = 16 * 1024;
/// No answer of the server under test has a larger head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A server's address, resolved once.
#[derive(Clone, Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    authority: String,
}

/// The target of every request: server, key and collection.
#[derive(Clone, Debug)]
pub struct Site {
    pub server: Server,
    pub key: String,
    pub collection: String,
}

/// Why an exchange brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the server closed the connection before it answered")]
    Closed,
    #[error("the answer is not HTTP/1.1")]
    NotHttp,
    #[error("the answer has no `content-length`")]
    Unsized,
    #[error("the answer is longer than its `content-length`")]
    Surplus,
}

/// A connection and the buffer into which answers are read.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer. Its body lies in the client's buffer.
pub struct Response<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

/// The head of a response, and the length of its body as the head tells it.
#[derive(Debug, PartialEq)]
pub struct Head {
    pub status: u16,
    pub body: Body,
    /// The length of the head, including the empty line.
    pub bytes: usize,
}

/// How the end of a body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    Sized(usize),
    Chunked,
    UntilClose,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or("expected http://host:port (no TLS)")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            return Err("expected http://host:port without a path".to_owned());
        }
        // An IPv6 address has colons of its own, in brackets.
        let has_port = authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
        let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let addresses = with_port.to_socket_addrs().map_err(|error| error.to_string())?.collect();
        Ok(Self { addresses, authority: authority.to_owned() })
    }
}

impl Server {
    /// Opens a TCP connection that sends each write at once.
    pub async fn open_stream(&self) -> Result<TcpStream, HttpError> {
        let failed = |error| HttpError::Connect(self.authority.clone(), error);
        let stream = TcpStream::connect(&self.addresses[..]).await.map_err(failed)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Site {
    /// Returns the head of `POST {path}` with a JSON body of exactly `body_bytes`.
    pub fn post_head(&self, path: &str, body_bytes: usize) -> Vec<u8> {
        let mut head = self.start_head("POST", path);
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {body_bytes}\r\n\r\n"));
        head.into_bytes()
    }

    /// Returns a whole `GET {path}`. Each line of `headers` ends in CRLF.
    pub fn get(&self, path: &str, headers: &str) -> Vec<u8> {
        let mut head = self.start_head("GET", path);
        head.push_str(headers);
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn start_head(&self, method: &str, path: &str) -> String {
        let (authority, key) = (&self.server.authority, &self.key);
        format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {key}\r\n")
    }
}

impl Client {
    /// Connects; nothing is sent yet.
    pub async fn connect(server: &Server) -> Result<Self, HttpError> {
        Ok(Self { stream: server.open_stream().await?, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Sends a whole request and reads the whole answer.
    ///
    /// After an error, or if the future is dropped before it is done, the connection can't be used any more.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Response<'_>, HttpError> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            self.read_more(&mut filled).await?;
            if let Some(head) = Head::parse(&self.buffer[..filled])? {
                break head;
            }
        };
        let Body::Sized(body_bytes) = head.body else { return Err(HttpError::Unsized) };
        let end = head.bytes + body_bytes;
        while filled < end {
            self.read_more(&mut filled).await?;
        }
        if filled > end {
            return Err(HttpError::Surplus);
        }
        Ok(Response { status: head.status, body: &self.buffer[head.bytes..end] })
    }

    async fn read_more(&mut self, filled: &mut usize) -> Result<(), HttpError> {
        if *filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.stream.read(&mut self.buffer[*filled..]).await? {
            0 => Err(HttpError::Closed),
            bytes => {
                *filled += bytes;
                Ok(())
            }
        }
    }
}

impl Head {
    /// Reads the head at the start of `bytes`; `None` until its empty line has come.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HttpError> {
        let mut body = Body::UntilClose;
        let mut status = None;
        let mut at = 0;
        while let Some(length) = bytes[at..].iter().position(|&b| b == b'\n') {
            let line = bytes[at..at + length].trim_ascii_end();
            at += length + 1;
            match status {
                None => status = Some(parse_status(line).ok_or(HttpError::NotHttp)?),
                Some(status) if line.is_empty() => {
                    // RFC 9112 §6.3: these never have a body.
                    let body =
                        if status < 200 || status == 204 || status == 304 { Body::Sized(0) } else { body };
                    return Ok(Some(Self { status, body, bytes: at }));
                }
                Some(_) => body = parse_framing(line)?.unwrap_or(body),
            }
        }
        if bytes.len() > MAX_HEAD_BYTES { Err(HttpError::NotHttp) } else { Ok(None) }
    }
}

fn parse_status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ")?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

/// Reads a header line if it is one of the two that frame a body.
fn parse_framing(line: &[u8]) -> Result<Option<Body>, HttpError> {
    if let Some(value) = strip_name(line, b"content-length:") {
        let text = std::str::from_utf8(value).map_err(|_| HttpError::NotHttp)?;
        return Ok(Some(Body::Sized(text.parse().map_err(|_| HttpError::NotHttp)?)));
    }
    Ok(strip_name(line, b"transfer-encoding:").map(|_| Body::Chunked))
}

fn strip_name<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_its_empty_line_is_there() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\ndate: x\r\n\r\n{}";
        for cut in 0..answer.len() - 2 {
            assert_eq!(Head::parse(&answer[..cut]).ok(), Some(None), "cut at {cut}");
        }
        let head = Head { status: 201, body: Body::Sized(2), bytes: answer.len() - 2 };
        assert_eq!(Head::parse(answer).ok(), Some(Some(head)));
    }

    #[test]
    fn a_head_says_how_its_body_ends() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Some(Body::Chunked), "chunked"),
            ("HTTP/1.1 200 OK\r\n\r\n", Some(Body::UntilClose), "neither header"),
            (
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
                Some(Body::Sized(0)),
                "an upgrade",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", None, "a length that is no number"),
            ("SSH-2.0-x\r\n\r\n", None, "another protocol"),
        ];
        for (answer, body, why) in cases {
            let head = Head::parse(answer.as_bytes()).ok().flatten();
            assert_eq!(head.map(|head| head.body), body, "{why}");
        }
    }

    #[test]
    fn a_url_is_a_host_and_a_port() {
        let cases = [
            ("http://127.0.0.1:8080", Some("127.0.0.1:8080"), "the usual"),
            ("http://127.0.0.1/", Some("127.0.0.1:80"), "the default port, a slash"),
            ("http://[::1]", Some("[::1]:80"), "IPv6 without a port"),
            ("http://[::1]:8080", Some("[::1]:8080"), "IPv6 with a port"),
            ("https://127.0.0.1", None, "there is no TLS here"),
            ("http://127.0.0.1/api", None, "a path would be dropped"),
        ];
        for (url, address, why) in cases {
            let first = url.parse::<Server>().ok().map(|server| server.addresses[0].to_string());
            assert_eq!(first.as_deref(), address, "{why}");
        }
    }
}
