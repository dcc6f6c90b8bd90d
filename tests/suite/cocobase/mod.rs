//! The client libraries' door, with the published libraries themselves.

mod clients;
mod documents;
mod realtime;
