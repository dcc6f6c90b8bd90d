//! TCP connections, below HTTP: how many there may be, how long each may make the server wait, and when each is closed.
//!
//! A *socket* is one TCP connection, from its acceptance to its end. It is a *stranger* until a good key came over it. Many
//! strangers must not keep a client with a key out, so beyond a small number of them the oldest is closed.
//! Never does: serve HTTP. It sees bytes, and is told when a request begins and ends. It looks at a head only to explain why the
//! parser refuses it.
//!
//! Reading order: [`state`] (what the rest of the server tells a socket), [`strangers`] and [`limits`] (which socket has to
//! go), [`handle`] (a socket as requests see it), `refusal` (requests that the parser refuses), [`socket`] (the reader and writer
//! with its deadlines), [`progress`] (when a request begins and ends).

pub mod handle;
pub mod limits;
pub mod progress;
mod refusal;
pub mod socket;
mod state;
mod strangers;

pub use handle::SocketHandle;
pub use limits::{SocketLimits, Sockets};
pub use socket::Socket;
