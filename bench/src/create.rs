//! The requests that create documents. All of one size have the same length, so their heads never change.

use std::fmt;
use std::io::Write;

use crate::http::{Client, Site};
use crate::load::Workload;

/// The smallest size of a document: it holds the members that number a document, whatever the numbers are.
pub const MIN_DOCUMENT_BYTES: usize = 96;

/// `POST /collections/{collection}` with a bare JSON object of a fixed size.
pub struct CreateRequest {
    bytes: Vec<u8>,
    head_bytes: usize,
    document_bytes: usize,
}

/// Creates one numbered document after the other, up to a count.
pub struct CreateDocuments {
    request: CreateRequest,
    client: usize,
    next: u64,
    end: u64,
}

impl CreateRequest {
    /// A request for documents of `document_bytes`, at least [`MIN_DOCUMENT_BYTES`].
    pub fn new(site: &Site, document_bytes: usize) -> Self {
        let bytes = site.post_head(&format!("/collections/{}", site.collection), document_bytes);
        Self { head_bytes: bytes.len(), bytes, document_bytes }
    }

    /// Returns the whole request for a document of these members, filled up with a member `pad`.
    pub fn render(&mut self, members: fmt::Arguments<'_>) -> &[u8] {
        self.bytes.truncate(self.head_bytes);
        write!(self.bytes, "{{{members},\"pad\":\"").expect("a vector takes every write");
        let end = self.head_bytes + self.document_bytes;
        assert!(self.bytes.len() + 2 <= end, "the members fit into the smallest document");
        self.bytes.resize(end - 2, b'x');
        self.bytes.extend_from_slice(b"\"}");
        &self.bytes
    }
}

impl CreateDocuments {
    /// Client number `client`, which creates `count` documents of `document_bytes`.
    pub fn new(site: &Site, document_bytes: usize, client: usize, count: u64) -> Self {
        Self { request: CreateRequest::new(site, document_bytes), client, next: 0, end: count }
    }
}

impl Workload for CreateDocuments {
    fn next_request(&mut self) -> Option<&[u8]> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        Some(self.request.render(format_args!("\"client\":{},\"number\":{}", self.client, self.next)))
    }
}

/// Creates one document, which creates the collection if it is new and shows that the key is valid.
///
/// # Errors
/// If there is no answer, or its status is not 201.
pub async fn create_first_document(
    site: &Site,
    document_bytes: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = Client::connect(&site.server).await?;
    let mut workload = CreateDocuments::new(site, document_bytes, 0, 1);
    let request = workload.next_request().expect("the count is one");
    let response = client.exchange(request).await?;
    if response.status != 201 {
        let (status, body) = (response.status, String::from_utf8_lossy(response.body));
        return Err(format!("the server answered the first document with {status}: {body}").into());
    }
    Ok(())
}

/// Reads the size of a document in bytes.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let size = text.parse::<usize>().map_err(|error| error.to_string())?;
    if size < MIN_DOCUMENT_BYTES {
        return Err(format!("a document must have at least {MIN_DOCUMENT_BYTES} bytes"));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_valid_json_of_the_announced_size() {
        let site = Site {
            server: "http://127.0.0.1:1".parse().expect("a valid URL"),
            key: "sk_x".to_owned(),
            collection: "bench".to_owned(),
        };
        let mut request = CreateRequest::new(&site, MIN_DOCUMENT_BYTES);
        for number in [0, u64::MAX, 7] {
            let bytes = request.render(format_args!("\"room\":{number},\"sent\":{number}"));
            let text = std::str::from_utf8(bytes).expect("a request is text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head ends with an empty line");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            let document: serde_json::Value = serde_json::from_str(body).expect("a body is JSON");
            assert_eq!(document["room"], number);
        }
    }
}
