//! Prints the fantasy books of a collection each time that one of them changes.

use coir_client::Client;
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), coir_client::Error> {
    let client = Client::new("http://127.0.0.1:8080", std::env::var("COIR_KEY").unwrap_or_default())?;
    let mut books = client.watch("books").filters(json!({ "genre": "Fantasy" })).view();
    loop {
        books.next().await?;
        println!("{} books", books.documents().len());
        for (id, book) in books.documents() {
            println!("  {id}: {}", book.data["title"]);
        }
    }
}
