//! The first message of a socket of this door, which says who is asking and what is wanted. After it the socket is about
//! one topic.

use std::{rc::Rc, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::refusal::{behind, failed, invalid_key, refused};
use crate::{
    api::{
        error::ApiError,
        realtime::{
            connection::{Connection, NotAdmitted},
            conversation::{Conversation, Dialect, End},
            protocol::{too_many_connections, unchecked},
        },
    },
    auth::{AuthError, Principal},
    domain::json,
    hub::CloseReason,
    wire::{CloseCode, frames::text_frame, messages},
};

/// The largest first message, in bytes.
const MAX_FIRST_MESSAGE: usize = 16 * 1024;

/// The first message. A member that means nothing for a topic is ignored.
#[derive(Default, Deserialize)]
pub struct First {
    /// The key of the project.
    #[serde(default, deserialize_with = "json::member")]
    pub api_key: Option<Value>,
    /// For a collection: the filter of its documents.
    #[serde(default, deserialize_with = "json::member")]
    pub filters: Option<Value>,
    /// For a collection: the cursor after which a watcher goes on, or an empty text if it has none yet. Its events have
    /// cursors then. The libraries don't send it; the redirect script does.
    #[serde(default, deserialize_with = "json::member")]
    pub since: Option<Value>,
    /// The id by which others know the client.
    #[serde(default, deserialize_with = "json::member")]
    pub user_id: Option<Value>,
    /// The name by which others know the client.
    #[serde(default, deserialize_with = "json::member")]
    pub user_name: Option<Value>,
    /// For a room: `create` or `join`.
    #[serde(default, deserialize_with = "json::member")]
    pub action: Option<Value>,
    /// For a room that is created: its title.
    #[serde(default, deserialize_with = "json::member")]
    pub room_title: Option<Value>,
}

/// The subject of a socket, which its path names.
pub trait Topic {
    /// The conversation after the first message.
    type Conversation: Conversation;

    /// Begins the conversation, and says so to the client.
    ///
    /// # Errors
    /// How the socket ends.
    fn begin(
        &self,
        connection: &Rc<Connection>,
        principal: Arc<Principal>,
        first: First,
    ) -> impl Future<Output = Result<Self::Conversation, End>>;
}

/// A socket of this door: waits for the first message, and then holds the conversation of its topic.
pub struct Introduction<T: Topic> {
    connection: Rc<Connection>,
    topic: T,
    conversation: Option<T::Conversation>,
}

impl<T: Topic> Introduction<T> {
    /// Waits for the first message.
    pub fn new(connection: Rc<Connection>, topic: T) -> Self {
        Self { connection, topic, conversation: None }
    }

    /// Begins the conversation of a client that is known already.
    ///
    /// # Errors
    /// How the socket ends.
    pub async fn begin(&mut self, principal: Arc<Principal>, first: First) -> Result<(), End> {
        self.conversation = Some(self.topic.begin(&self.connection, principal, first).await?);
        Ok(())
    }

    async fn introduce(&mut self, text: &str) -> Result<(), End> {
        if text.len() > MAX_FIRST_MESSAGE {
            return Err(End::new(CloseCode::TooBig, "the first message is at most 16 KiB"));
        }
        // serde would also read the members from an array.
        let is_object = text.trim_start().starts_with('{');
        let first: First = serde_json::from_str(text)
            .ok()
            .filter(|_| is_object)
            .ok_or_else(|| refused("the first message is a JSON object such as {\"api_key\":\"pk_…\"}"))?;
        let principal = self.authenticate(first.api_key.as_ref()).await?;
        self.begin(principal, first).await
    }

    async fn authenticate(&self, key: Option<&Value>) -> Result<Arc<Principal>, End> {
        let key = match key {
            Some(Value::String(key)) if !key.is_empty() => key,
            _ => return Err(refused("API key is required")),
        };
        let principal = match self.connection.realtime.admission.authenticator.keys.authenticate(key).await {
            Ok(principal) => principal,
            Err(AuthError::Unknown) => return Err(invalid_key()),
            Err(err) => return Err(failed(ApiError::from(err))),
        };
        self.connection.check_origin(&principal).map_err(|err| failed(ApiError::from(err)))?;
        self.connection.count(&principal).map_err(|err| failed(ApiError::from(err)))?;
        match self.connection.set_principal(&principal) {
            Ok(()) => Ok(principal),
            // The keys of this door come without a user.
            Err(NotAdmitted::KeyEnded(_) | NotAdmitted::SessionEnded | NotAdmitted::SessionInDoubt) => {
                Err(invalid_key())
            }
            Err(NotAdmitted::Full) => Err(too_many_connections()),
        }
    }
}

impl<T: Topic> Conversation for Introduction<T> {
    type News = <T::Conversation as Conversation>::News;

    async fn hear(&mut self, text: String) -> Result<(), End> {
        match (text.trim(), &mut self.conversation) {
            ("ping", _) => self.connection.outbox.send(text_frame(br#"{"event":"pong"}"#)),
            (trimmed, _) if is_ping(trimmed) => self.connection.outbox.send(messages::pong()),
            (_, Some(conversation)) => return conversation.hear(text).await,
            (_, None) => return self.introduce(&text).await,
        }
        Ok(())
    }

    async fn serve(&mut self) -> Self::News {
        match &mut self.conversation {
            Some(conversation) => conversation.serve().await,
            None => std::future::pending().await,
        }
    }

    async fn react(&mut self, news: Self::News) -> Result<(), End> {
        match &mut self.conversation {
            Some(conversation) => conversation.react(news).await,
            None => Ok(()),
        }
    }

    fn beat(&mut self) -> Option<String> {
        self.conversation.as_mut().and_then(Conversation::beat)
    }
}

impl<T: Topic> Dialect for Introduction<T> {
    fn is_known(&self) -> bool {
        self.conversation.is_some()
    }

    fn late(&self) -> End {
        refused("Authentication timeout")
    }

    fn hear_binary(&mut self) -> Result<(), End> {
        Err(refused("messages are JSON in text frames"))
    }

    fn closed(&self, reason: CloseReason) -> End {
        match reason {
            CloseReason::KeyEnded(_) | CloseReason::SessionEnded | CloseReason::SessionInDoubt => {
                invalid_key()
            }
            CloseReason::Behind => behind(),
            CloseReason::Full => too_many_connections(),
            CloseReason::Unchecked | CloseReason::CredentialInDoubt => unchecked(),
        }
    }
}

fn is_ping(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
    }
    // A ping is short.
    text.len() < 256 && serde_json::from_str(text).is_ok_and(|Kind { kind }| kind == "ping")
}
