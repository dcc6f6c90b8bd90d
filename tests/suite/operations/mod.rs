//! Start, stop, keys, health, limits of HTTP, and the page.

mod cors;
mod first_minutes;
mod health;
mod keys;
mod lifecycle;
mod malformed;
mod settings;
mod site;
