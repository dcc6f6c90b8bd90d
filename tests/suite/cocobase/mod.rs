//! The API for the Cocobase client libraries: their requests one by one, and the published libraries themselves.

mod clients;
mod documents;
mod permissions;
mod realtime;
mod users;
