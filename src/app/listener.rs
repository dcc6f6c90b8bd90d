//! The listening socket, with the options that every accepted connection inherits.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::StartError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Unsent bytes that the kernel may hold for one connection. Beyond it the connection's own bounded queue fills, so a slow
/// reader is noticed instead of being hidden by the kernel's buffer.
const NOTSENT_LOWAT: u32 = 16 * 1024;
/// The kernel closes a connection whose peer has acknowledged nothing for this long.
const USER_TIMEOUT: Duration = Duration::from_secs(45);

/// Binds `address` and listens on it. Port 0 takes a free port.
///
/// # Errors
/// [`StartError::AddressInUse`] and [`StartError::Listen`].
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    listen(address).map_err(|err| match err.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse(address),
        _ => StartError::Listen(address, err),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
