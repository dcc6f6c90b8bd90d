//! `coir serve`: the server, what it prints when it starts, and its end.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::CliError;
use crate::{
    app::{self, Running},
    config::{Config, LogFormat},
};

/// Sets up the log, on standard error.
pub(super) fn start_log(config: &Config) -> Result<(), CliError> {
    // A bare level is meant for us; of libraries only what is wrong is wanted.
    let directives = if config.log.contains(['=', ',']) {
        config.log.clone()
    } else {
        format!("warn,coir={}", config.log)
    };
    let filter = EnvFilter::try_new(directives).map_err(|err| {
        CliError::Log(format!("{err}; write error, warn, info, debug, trace, or coir=debug,warn"))
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Set once a process; in one that has a log already, that one stays.
    let _ = match config.log_format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    Ok(())
}

pub(super) async fn run(config: Config) -> Result<(), CliError> {
    let storage = describe_storage(&config);
    let running = app::start(config).await?;
    print_welcome(&running, &storage);
    tracing::info!(address = %running.address, durability = %running.durability, "serving on http://{}, {}", running.address, running.durability);
    wait_for_stop().await;
    tracing::info!("stopping: requests finish, streams end");
    running.stop().await.map_err(CliError::Server)?;
    tracing::info!("stopped");
    Ok(())
}

/// Where the data is, without the password that a URL may hold.
fn describe_storage(config: &Config) -> String {
    match &config.data_dir {
        Some(directory) => format!("SQLite, {}", directory.join("coir.db").display()),
        None if config.database_url.starts_with("sqlite") => format!("SQLite, {}", config.database_url),
        None => {
            let place = config.database_url.rsplit('@').next().unwrap_or_default();
            format!(
                "PostgreSQL, {}",
                place.trim_start_matches("postgresql://").trim_start_matches("postgres://")
            )
        }
    }
}

fn print_welcome(running: &Running, storage: &str) {
    let url = format!("http://{}", running.address);
    println!("Coir {} serves {url}", env!("CARGO_PKG_VERSION"));
    println!("  data:            {storage}");
    match &running.new_keys {
        Some(keys) => {
            println!("  publishable key: {}   (for apps)", keys.publishable);
            println!("  secret key:      {}   (for servers)", keys.secret);
            println!("Keep both: they are shown this once. `coir keys create` makes another.");
            println!("\nTry next, in two terminals:");
            println!("  curl -N -H 'Authorization: Bearer {}' {url}/realtime/sse/posts", keys.publishable);
            println!(
                "  curl -H 'Authorization: Bearer {}' -d '{{\"title\":\"Hello\"}}' {url}/collections/posts",
                keys.secret
            );
            println!("(Run the second one first: it makes the collection.)");
        }
        None => println!("The keys were shown at the first start; `coir keys create secret` makes another."),
    }
}

async fn wait_for_stop() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        tracing::error!("signals can't be listened for; only SIGKILL stops this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
