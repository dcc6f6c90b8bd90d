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
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountBody>,
}

/// How the user of the answer can sign in.
#[derive(Serialize)]
pub struct AccountBody {
    pub password: bool,
    pub totp: bool,
    pub anonymous: bool,
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
        Self { success: true, data, page: None, account: None }
    }

    /// The same with the cursors of a list.
    pub fn with_page(data: T, page: PageEnd) -> Self {
        Self { success: true, data, page: Some(page), account: None }
    }

    /// The same with how the user can sign in.
    pub fn with_account(data: T, account: AccountBody) -> Self {
        Self { success: true, data, page: None, account: Some(account) }
    }
}
