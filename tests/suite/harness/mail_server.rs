//! A small SMTP server, which keeps what it is sent.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

/// A mail as it came in.
#[derive(Debug)]
pub struct ReceivedMail {
    /// The addresses of `RCPT TO`, with their angle brackets.
    pub recipients: Vec<String>,
    /// Headers and text.
    pub data: String,
}

/// How a [`MailServer`] treats who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// It takes every mail.
    Polite,
    /// It takes every second mail, beginning with the second. It refuses the others for the moment.
    Hesitant,
    /// It says nothing, not even hello.
    Silent,
}

/// A mail server on a free port; ends when it is dropped.
pub struct MailServer {
    /// `smtp://127.0.0.1:port`.
    pub url: String,
    mails: mpsc::UnboundedReceiver<ReceivedMail>,
    task: JoinHandle<()>,
}

impl MailServer {
    pub async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let (sender, mails) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut silent = Vec::new();
            for count in 0.. {
                let (connection, _) = listener.accept().await.unwrap();
                match manners {
                    Manners::Silent => silent.push(connection),
                    Manners::Hesitant if count % 2 == 0 => {
                        tokio::spawn(talk(connection, sender.clone(), "451 come again"));
                    }
                    Manners::Polite | Manners::Hesitant => {
                        tokio::spawn(talk(connection, sender.clone(), "250 OK"));
                    }
                }
            }
        });
        Self { url, mails, task }
    }

    /// Waits for the next mail.
    pub async fn next_mail(&mut self) -> ReceivedMail {
        let next = tokio::time::timeout(Duration::from_secs(20), self.mails.recv());
        next.await.expect("no mail came").unwrap()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Talks with a client, and answers each recipient with `verdict`.
async fn talk(connection: TcpStream, sender: mpsc::UnboundedSender<ReceivedMail>, verdict: &str) {
    let (reader, mut writer) = connection.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut recipients = Vec::new();
    let mut answer = "220 test ESMTP".to_owned();
    loop {
        if writer.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            return;
        }
        let Ok(Some(line)) = lines.next_line().await else { return };
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        answer = match verb.as_str() {
            "EHLO" => "250 test".to_owned(),
            "RCPT" => {
                recipients
                    .push(line.split_once(':').unwrap().1.split_whitespace().next().unwrap().to_owned());
                verdict.to_owned()
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await.unwrap();
                let mut data = String::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "." {
                        break;
                    }
                    data.push_str(&line);
                    data.push('\n');
                }
                // The test may have seen enough.
                let _ = sender.send(ReceivedMail { recipients: std::mem::take(&mut recipients), data });
                "250 OK".to_owned()
            }
            _ => "250 OK".to_owned(),
        };
    }
}
