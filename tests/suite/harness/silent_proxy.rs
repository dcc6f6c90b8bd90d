//! A TCP proxy in front of a database that can go silent: connections stay open, and nothing comes through any more. So does
//! a network whose cable is cut, or a firewall that has forgotten a connection.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What the proxy does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Passing,
    /// Nothing comes through, in either direction. New connections are accepted, and silent.
    Silent,
    /// What the client sends comes through, and the answers don't.
    SilentAnswers,
}

#[derive(Clone, Copy, Debug)]
struct Traffic {
    state: State,
    /// Connections with a lower number are silent whatever the state is.
    forgotten: u64,
    /// How long bytes are under way.
    delay: Duration,
}

/// A proxy in front of one server. When it is dropped, its connections are cut.
pub struct SilentProxy {
    address: SocketAddr,
    traffic: watch::Sender<Traffic>,
    /// Counts the connections.
    count: Arc<AtomicU64>,
    /// Counts the calls of [`SilentProxy::cut`].
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl SilentProxy {
    /// Starts a proxy in front of the server at `target`, such as `127.0.0.1:5432`.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (traffic, watched) =
            watch::channel(Traffic { state: State::Passing, forgotten: 0, delay: Duration::ZERO });
        let (cuts, cut) = watch::channel(0);
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(pass((client, number), target.clone(), watched.clone(), cut.clone()));
            }
        });
        Self { address, traffic, count, cuts, accepting }
    }

    /// Starts a proxy in front of the server of a database URL, and returns it with the URL that goes through it.
    pub async fn before(database_url: &str) -> (Self, String) {
        let mut url = reqwest::Url::parse(database_url).unwrap();
        let proxy = Self::start(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))).await;
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(proxy.address.port())).unwrap();
        (proxy, url.to_string())
    }

    /// Lets nothing come through any more, also over new connections. None of them is closed.
    pub fn silence(&self) {
        self.set(State::Silent);
    }

    /// Lets what clients send come through, and no answer: a commit happens, and nobody hears of it.
    pub fn silence_answers(&self) {
        self.set(State::SilentAnswers);
    }

    /// Lets nothing come through the connections that there are, for ever. New ones are not touched.
    pub fn forget_connections(&self) {
        let count = self.count.load(Ordering::SeqCst);
        self.traffic.send_modify(|traffic| traffic.forgotten = count);
    }

    /// Lets everything come through again, also what was held, except over connections that were forgotten.
    pub fn resume(&self) {
        self.set(State::Passing);
    }

    /// Lets bytes be under way for so long, in each direction, as in a slow network.
    #[allow(dead_code, reason = "the chaos suite uses it")]
    pub fn delay(&self, delay: Duration) {
        self.traffic.send_modify(|traffic| traffic.delay = delay);
    }

    /// Closes all connections. New ones are in the state that the proxy is in.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn set(&self, state: State) {
        self.traffic.send_modify(|traffic| traffic.state = state);
    }
}

impl Drop for SilentProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn pass(
    (client, number): (TcpStream, u64),
    target: String,
    mut traffic: watch::Receiver<Traffic>,
    mut cut: watch::Receiver<u64>,
) {
    cut.mark_unchanged();
    let both = async {
        // While it is silent, a new connection is open, and nothing answers.
        if traffic.wait_for(|traffic| traffic.state != State::Silent).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(target).await else { return };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let passes = move |traffic: &Traffic, is_open: bool| is_open && number >= traffic.forgotten;
        let requests = copy(from_client, to_server, traffic.clone(), |traffic| {
            passes(traffic, traffic.state != State::Silent)
        });
        let answers =
            copy(from_server, to_client, traffic, |traffic| passes(traffic, traffic.state == State::Passing));
        tokio::join!(requests, answers);
    };
    tokio::select! {
        biased;
        _ = cut.changed() => {}
        () = both => {}
    }
}

/// Copies bytes while the traffic lets them through, until one of the sides is closed.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
    is_open: impl Fn(&Traffic) -> bool,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // The proxy is being dropped if this fails.
        let delay = traffic.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let is_gone = traffic.wait_for(|traffic| is_open(traffic)).await.is_err();
        if is_gone || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    // An end is silent as well.
    if traffic.wait_for(|traffic| is_open(traffic)).await.is_ok() {
        let _ = to.shutdown().await;
    }
}
