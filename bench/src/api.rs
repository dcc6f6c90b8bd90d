//! Requests and answers as JSON, for what is set up before the measuring begins.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::http::{Client, Site};

/// How often the state of the indexes is asked for while they are built.
const POLL: Duration = Duration::from_millis(200);

/// Returns once all indexes of a collection are ready.
///
/// # Errors
/// If one can't be built.
pub async fn wait_for_indexes(
    site: &Site,
    client: &mut Client,
    collection: &str,
) -> Result<(), Box<dyn Error>> {
    loop {
        let settings = get(site, client, &format!("/collections/{collection}/settings")).await?;
        let indexes = settings["data"]["indexes"].as_array().ok_or("the settings show no indexes")?;
        if indexes.iter().all(|index| index["state"] == "ready") {
            return Ok(());
        }
        if let Some(failed) = indexes.iter().find(|index| index["state"] == "failed") {
            return Err(format!("an index can't be built: {failed}").into());
        }
        sleep(POLL).await;
    }
}

/// Posts JSON and returns the status of the answer.
pub async fn post(site: &Site, client: &mut Client, path: &str, body: &Value) -> Result<u16, Box<dyn Error>> {
    let body = body.to_string();
    let mut request = site.post_head(path, body.len());
    request.extend_from_slice(body.as_bytes());
    Ok(client.exchange(&request).await?.status)
}

/// Gets JSON.
///
/// # Errors
/// If the status is not 200.
pub async fn get(site: &Site, client: &mut Client, path: &str) -> Result<Value, Box<dyn Error>> {
    let response = client.exchange(&site.get(path, "")).await?;
    if response.status != 200 {
        return Err(format!("the server answered {path} with {}", response.status).into());
    }
    Ok(serde_json::from_slice(response.body)?)
}
