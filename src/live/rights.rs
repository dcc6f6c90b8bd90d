//! The rights behind a subscription: how its filter is narrowed, and whether it is still the right one.
//!
//! A subscription is sent a change only if its filter was what its principal's rights made of it at that change or later. The
//! hub and the log say where rights may change: the rules of the collection were set, or the document of the user changed.
//! From there on nothing is sent until the rights were asked for anew.

use std::sync::Arc;

use super::{
    error::LiveError,
    reads::{AsOf, Streams},
};
use crate::{
    auth::{Principal, rights::ReadRights},
    domain::Collection,
    hub::{Asked, Audience, Delivery},
    query::{Filter, Mask, rule::Params},
    store::StoreError,
    wire::Form,
};

/// What the rights of a principal make of a subscription's filter.
#[derive(Debug)]
pub struct Narrowed {
    /// The wanted documents that the principal may read.
    pub filter: Filter,
    /// The fields that the principal may not read, if there are any.
    pub mask: Option<Arc<Mask>>,
    /// What is needed to narrow it anew, if that is more than the filter.
    pub asked: Option<Asked>,
    /// The sequence of the control entry up to which the rules are those of the log.
    pub control: u64,
}

/// The outcome of asking for the rights of a subscription anew.
#[derive(Debug)]
pub enum Rebound {
    /// Its filter is still the right one.
    Same,
    /// Its filter is this one now, which is right up to this sequence.
    Other(Box<Narrowed>, u64),
    /// It ends: its principal may read nothing of the collection any more, or it can't be served.
    Ended(LiveError),
}

/// Narrows the filter of a subscription to what a principal may read now.
///
/// # Errors
/// The inner error says why it can't be served: that is nothing, or there is no memory for it. The outer one is a database
/// failure.
pub(super) async fn narrow(
    streams: &Streams,
    principal: &Principal,
    collection: &Collection,
    (wanted, as_of): (Filter, AsOf),
) -> Result<Result<Narrowed, LiveError>, StoreError> {
    let rights = streams.reader().read_rights(principal, collection, as_of).await?;
    let filter = match rights.narrow(wanted.clone()) {
        Ok(filter) => filter,
        Err(forbidden) => return Ok(Err(forbidden.into())),
    };
    let ReadRights { mask, watched, control, .. } = rights;
    let mask = (!mask.is_empty()).then_some(mask);
    let is_plain = filter == wanted && principal.params.is_empty() && watched.is_empty() && mask.is_none();
    let params = principal.params.clone();
    let watch = |(collection, filter)| {
        let (project, key) = (principal.project.clone(), principal.key.clone());
        let (form, label) = (Form::Named, Arc::from(""));
        let audience = Audience { project, collection, form, label, key, mask: None };
        streams.interests().get(audience, filter)
    };
    let watched = match watched.into_iter().map(watch).collect() {
        Ok(watched) => watched,
        Err(full) => return Ok(Err(LiveError::TooManyBytes(full))),
    };
    let mask_bytes = mask.as_ref().map_or(0, |mask| mask.bytes());
    let asked = (!is_plain).then(|| Asked { wanted: Arc::new(wanted), params, watched, mask_bytes });
    Ok(Ok(Narrowed { filter, mask, asked, control }))
}

/// Asks for the rights of a subscription anew. If its collection was removed meanwhile, others notice.
///
/// # Errors
/// A database failure.
pub(super) async fn rebind(
    streams: &Streams,
    principal: &Principal,
    delivery: &Delivery,
) -> Result<Rebound, StoreError> {
    // What is found below is at least as new as this end.
    let Some(end) = streams.find_end(&delivery.project).await? else { return Ok(Rebound::Same) };
    let checked = end.cursor.position.sequence;
    let collection =
        streams.reader().find_collection(&delivery.project, delivery.collection.as_str()).await?;
    let Some(collection) = collection else { return Ok(Rebound::Same) };
    let (params, wanted) = match delivery.asked() {
        Some(asked) => (asked.params.clone(), asked.wanted.clone()),
        None => (Params::default(), delivery.filter.clone()),
    };
    let principal = principal.with_params(params);
    let wanted = ((*wanted).clone(), AsOf::Control(end.control));
    let narrowed = match narrow(streams, &principal, &collection, wanted).await? {
        Ok(narrowed) => narrowed,
        Err(error) => return Ok(Rebound::Ended(error)),
    };
    // As it is kept.
    let filter = narrowed.filter.clone().compact(&mut |path| path);
    if filter != *delivery.filter || narrowed.mask != delivery.mask {
        return Ok(Rebound::Other(Box::new(narrowed), checked));
    }
    // It may depend on other documents now.
    Ok(match delivery.bind(narrowed.asked, checked) {
        Ok(()) => Rebound::Same,
        Err(full) => Rebound::Ended(LiveError::TooManyBytes(full)),
    })
}
