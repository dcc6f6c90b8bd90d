//! The shard of the worker thread that a request is on.

use std::rc::Rc;

use actix_web::{HttpRequest, web};

use super::state::Realtime;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        state::State,
    },
    hub::Shard,
};

/// This worker thread's shard of the hub.
pub struct LocalShard(pub Rc<Shard>);

/// Returns the parts of the server that a stream needs.
///
/// # Errors
/// `OVERLOADED` if they are missing, which would be a bug of `app`.
pub fn parts(request: &HttpRequest) -> Result<(web::Data<Realtime>, Rc<Shard>), ApiError> {
    let state = request.app_data::<State>();
    let parts = state.map(|state| &state.realtime).zip(request.app_data::<LocalShard>());
    // `app` registers both before any route.
    let (realtime, shard) =
        parts.ok_or_else(|| ApiError::new(ErrorCode::Overloaded, "streams are not available"))?;
    Ok((realtime.clone(), shard.0.clone()))
}
