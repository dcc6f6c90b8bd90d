//! `coir rules exposure`: prints how open the collections of a running server are, and checks that somebody has decided so.

use std::time::Duration;

use reqwest::{Client, redirect::Policy};
use serde::Deserialize;

use super::{
    answer::{describe, path_url},
    arguments::ExposureArgs,
    output::{OutputError, note, print},
    target::{self, TargetError},
};
use crate::config::Given;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a statement of what is open did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ExposureError {
    #[error("a secret key is needed: --key sk_…, or COIR_KEY in the environment")]
    NoKey,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the server can't be asked: {0}")]
    Http(#[from] reqwest::Error),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(
        "{} open without rules: {}. Set rules, such as {{\"read\":true}}, with PATCH /collections/{{collection}}/settings, or name those that are meant to be open with --allow",
        if .0.len() == 1 { "a collection is" } else { "collections are" },
        .0.join(", ")
    )]
    Undeclared(Vec<String>),
    #[error("--allow {0}: there is no such collection, so the name is most likely misspelt")]
    UnknownName(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    data: Collections,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Collections {
    collections: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    declared: bool,
    guest: Reaches,
    user: Reaches,
    key: Reaches,
    hidden: Vec<String>,
}

#[derive(Deserialize)]
struct Reaches {
    read: String,
    create: String,
    update: String,
    delete: String,
}

impl Reaches {
    fn all(&self) -> [&str; 4] {
        [&self.read, &self.create, &self.update, &self.delete]
    }
}

impl Row {
    /// Whether somebody without a secret key may do something in it, without a decision about it.
    fn is_open_undeclared(&self) -> bool {
        let reaches = [&self.guest, &self.user, &self.key];
        !self.declared && reaches.iter().flat_map(|reaches| reaches.all()).any(|reach| reach != "none")
    }
}

pub(super) async fn run(args: ExposureArgs, given: &Given) -> Result<(), ExposureError> {
    let key = args.server.key.clone().filter(|key| !key.is_empty()).ok_or(ExposureError::NoKey)?;
    let target = target::find(args.server.url.as_deref(), given).await?;
    let rows = read(&target.url, &key).await?;
    print(format_args!("{:<24}  {:<9}  {:<31}  {:<31}  hidden", "collection", "rules", "guest", "user"))?;
    for row in &rows {
        let rules = if row.declared { "yes" } else { "no" };
        let (guest, user) = (shown(&row.guest), shown(&row.user));
        print(format_args!(
            "{:<24}  {rules:<9}  {guest:<31}  {user:<31}  {}",
            row.name,
            row.hidden.join(",")
        ))?;
    }
    if let Some(unknown) = args.allow.iter().find(|name| rows.iter().all(|row| row.name != **name)) {
        return Err(ExposureError::UnknownName(unknown.clone()));
    }
    let is_undeclared = |row: &&Row| row.is_open_undeclared() && !args.allow.contains(&row.name);
    let undeclared: Vec<_> = rows.iter().filter(is_undeclared).map(|row| row.name.clone()).collect();
    match (undeclared.is_empty(), args.check) {
        (false, true) => Err(ExposureError::Undeclared(undeclared)),
        (false, false) => {
            note(format_args!("Open without rules: {}.", undeclared.join(", ")));
            Ok(())
        }
        (true, _) => Ok(()),
    }
}

/// Returns what callers may do, as in `read:all update:some`.
fn shown(reaches: &Reaches) -> String {
    let words = ["read", "create", "update", "delete"].into_iter().zip(reaches.all());
    let open: Vec<_> =
        words.filter(|(_, reach)| *reach != "none").map(|(word, reach)| format!("{word}:{reach}")).collect();
    if open.is_empty() { "nothing".to_owned() } else { open.join(" ") }
}

/// Reads all pages.
async fn read(server: &str, key: &str) -> Result<Vec<Row>, ExposureError> {
    // A redirect would lead somewhere that nobody named.
    let http = Client::builder().timeout(PATIENCE).redirect(Policy::none()).build()?;
    let url = path_url(server, &["exposure"]).ok_or_else(|| TargetError::BadUrl(server.to_owned()))?;
    let (mut rows, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut page_url = url.clone();
        if let Some(after) = &after {
            page_url.query_pairs_mut().append_pair("after", after);
        }
        let answer = http.get(page_url).header("x-api-key", key).send().await;
        let answer = answer.map_err(reqwest::Error::without_url)?;
        let (status, body) = (answer.status(), answer.text().await.map_err(reqwest::Error::without_url)?);
        let page: Page = match serde_json::from_str(&body) {
            Ok(page) if status.is_success() => page,
            _ => return Err(ExposureError::Refused(describe(status, &body))),
        };
        rows.extend(page.data.collections);
        match page.next_cursor {
            Some(next) => after = Some(next),
            None => return Ok(rows),
        }
    }
}
