//! Running a server: start, stop, settings, keys and health; CORS, malformed HTTP, and the web page.

mod answers;
mod beginners;
mod commands;
mod cors;
mod first_keys;
mod first_minutes;
mod health;
mod key_changes;
pub mod keys;
mod lifecycle;
mod log_output;
mod malformed;
mod parser_refusals;
pub mod project_keys;
mod project_settings;
mod public;
mod settings;
mod shares;
mod site;
mod sockets;
mod traffic;
mod upgrade;
