//! The envelope of every success.

use serde::Serialize;

/// `{"success":true,"data":…}`, and of a list the cursors.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Success<T> {
    success: bool,
    data: T,
    #[serde(flatten)]
    page: Option<PageEnd>,
}

/// The cursors of a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PageEnd {
    /// Where the next page begins; `null` on the last page.
    pub next_cursor: Option<String>,
    /// The log position of the read, from which a stream can go on.
    pub cursor: String,
}

impl<T> Success<T> {
    pub fn new(data: T) -> Self {
        Self { success: true, data, page: None }
    }

    /// The same with the cursors of a list.
    pub fn with_page(data: T, page: PageEnd) -> Self {
        Self { success: true, data, page: Some(page) }
    }
}
