//! `Prefer` (RFC 7240): how much of the written documents a client wants to be sent back.

use actix_web::HttpRequest;

/// The header with which an answer says that it has ids and versions only.
pub const APPLIED: (&str, &str) = ("Preference-Applied", "return=minimal");

/// Whether a request asks for an answer without the documents (`Prefer: return=minimal`). The first `return` counts. Other
/// preferences are ignored, as the standard says.
pub fn prefers_minimal(request: &HttpRequest) -> bool {
    let values = request.headers().get_all("prefer").filter_map(|value| value.to_str().ok());
    let mut wanted = values.flat_map(|value| value.split(',')).filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("return").then(|| value.trim().trim_matches('"'))
    });
    wanted.next().is_some_and(|value| value.eq_ignore_ascii_case("minimal"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_first_preference_about_the_answer_counts() {
        for (headers, expected) in [
            (vec![], false),
            (vec!["return=minimal"], true),
            (vec!["respond-async, Return = \"minimal\"; x=1"], true),
            (vec!["wait=10", "return=minimal"], true),
            (vec!["return=representation, return=minimal"], false),
            (vec!["minimal"], false),
        ] {
            let mut request = TestRequest::default();
            for header in &headers {
                request = request.append_header(("Prefer", *header));
            }
            assert_eq!(prefers_minimal(&request.to_http_request()), expected, "{headers:?}");
        }
    }
}
