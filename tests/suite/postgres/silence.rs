//! A network between the server and PostgreSQL that goes silent: nothing is closed, and nothing comes through. When it is
//! back, the connections from before are still silent, as after a firewall has forgotten them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Database, SECRET_KEY, SilentProxy, TestApp, app::config, fresh_database};

/// How long the server may take until everything works again.
const RETURN: Duration = Duration::from_secs(15);

/// Does a request of each kind. Returns the first that does not work.
async fn find_failing(app: &TestApp, n: usize) -> Option<&'static str> {
    if app.send(app.http.get(format!("{}/health/ready", app.url))).await.status != 200 {
        return Some("/health/ready");
    }
    for (what, path) in [("a read", "/collections/posts/first"), ("a list", "/collections/posts?n=1&limit=2")]
    {
        if app.get(path).await.status != 200 {
            return Some(what);
        }
    }
    let request =
        app.http.get(format!("{}/realtime/sse/posts?snapshot=true", app.url)).bearer_auth(SECRET_KEY);
    let response = request.send().await.unwrap();
    if response.status() != 200 {
        return Some("a stream");
    }
    let mut stream = crate::harness::TestStream::of(response);
    let id = format!("returned-{n}");
    if app.put(&format!("/collections/posts/{id}"), json!({ "n": n })).await.status != 201 {
        return Some("a write");
    }
    loop {
        match stream.try_next_block().await {
            None => return Some("an event"),
            Some(block) if block.data.as_ref().is_some_and(|data| data.contains(&id)) => return None,
            Some(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_back_when_the_network_is() {
    let (direct, _) = fresh_database(Database::Postgres).await;
    let (proxy, url) = SilentProxy::before(&direct).await;
    let app = Arc::new(TestApp::start_on(config(&url), None).await);
    app.put("/collections/posts/first", json!({ "n": 1 })).await;
    assert_eq!(find_failing(&app, 0).await, None);

    proxy.silence();
    // More requests of each kind than there are connections.
    let paths = ["/collections/posts/first", "/collections/posts?n=1", "/collections/posts?n=2&count=true"];
    let hanging: Vec<_> = (0..30)
        .map(|n| {
            let app = app.clone();
            tokio::spawn(async move {
                match n % 4 {
                    0 => app.put(&format!("/collections/posts/hanging-{n}"), json!({ "n": n })).await.status,
                    kind => app.get(paths[kind - 1]).await.status,
                }
            })
        })
        .collect();
    // The answer from before the silence counts for a moment.
    let begun = Instant::now();
    while app.send(app.http.get(format!("{}/health/ready", app.url))).await.status != 503 {
        assert!(begun.elapsed() < RETURN, "the server is ready while the network is silent");
    }

    proxy.forget_connections();
    proxy.resume();
    let returned = Instant::now();
    let mut round = 0;
    while let Some(what) = {
        round += 1;
        find_failing(&app, round).await
    } {
        assert!(returned.elapsed() < RETURN, "{what} does not work after {:?}", returned.elapsed());
    }
    assert!(returned.elapsed() < RETURN, "everything works after {:?}", returned.elapsed());
    for request in hanging {
        let status = request.await.unwrap();
        assert!([200, 201, 503].contains(&status.as_u16()), "{status}");
    }
    Arc::into_inner(app).unwrap().stop().await;
}
