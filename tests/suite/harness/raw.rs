//! A WebSocket client that sends any bytes, frame by frame, and answers nothing by itself.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{TestApp, socket::PATIENCE};

/// A TCP connection after the handshake.
pub struct RawSocket {
    pub tcp: TcpStream,
}

impl RawSocket {
    /// Connects and does the handshake of RFC 6455.
    pub async fn connect(app: &TestApp) -> Self {
        let mut tcp = TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
        let request = "GET /realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(tcp.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        Self { tcp }
    }

    /// Sends bytes as they are. The server may have closed the connection, so they may not arrive.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.tcp.write_all(bytes).await;
    }

    /// Returns the first byte and the payload of the next frame; `None` once the server has closed the connection.
    pub async fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        tokio::time::timeout(PATIENCE, self.read_frame()).await.expect("nothing came").ok()
    }

    async fn read_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let (first, length) = (self.tcp.read_u8().await?, self.tcp.read_u8().await?);
        let length = match length {
            126 => u64::from(self.tcp.read_u16().await?),
            127 => self.tcp.read_u64().await?,
            short => u64::from(short),
        };
        let mut payload = vec![0; length as usize];
        self.tcp.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    /// Skips to the next close frame and returns its code.
    pub async fn next_close_code(&mut self) -> u16 {
        loop {
            let (first, payload) = self.next_frame().await.expect("closed without a close frame");
            if first == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    /// Reads and ignores frames until the server has closed the connection.
    pub async fn closed(&mut self) {
        while self.next_frame().await.is_some() {}
    }
}

/// Makes a frame of a client: the first byte as it is, the payload masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Makes the header of such a frame, for any payload of this length.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0x37, 0xfa, 0x21, 0x3d]);
    bytes
}
