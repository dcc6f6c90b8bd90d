//! The list of a project's rooms.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::bus::Person;
use crate::{
    api::{error::ApiError, request::Caller, state::State},
    auth::{Action, permission},
    live::LiveError,
};

/// `GET /realtime/rooms` → 200 with the rooms of the project.
pub async fn list(state: State, Caller(principal): Caller) -> Result<HttpResponse, ApiError> {
    permission::check(&principal, Action::Subscribe).map_err(LiveError::from)?;
    let rooms = state.realtime.bus.rooms(&principal.project);
    let person = |Person { id, name }: &Person| json!({ "id": parsed(id), "name": parsed(name) });
    let bodies: Vec<_> = rooms
        .iter()
        .map(|room| {
            json!({
                "id": room.id,
                "title": &*room.title,
                "created_by": parsed(&room.created_by.id),
                "participants": room.people.len(),
                "participant_list": room.people.iter().map(person).collect::<Vec<_>>(),
                "created_at": room.created_at.to_string(),
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "total": bodies.len(), "rooms": bodies })))
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}
