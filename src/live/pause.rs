//! Pauses the subscriptions of a connection, and changes for whom they are.

use std::rc::Rc;

use futures_util::stream::FuturesUnordered;

use super::{error::LiveError, reads::AsOf, subscription::Subscription, subscriptions::Subscriptions};
use crate::auth::Principal;

impl Subscriptions {
    /// Pauses all subscriptions: nothing more is sent until [`Subscriptions::serve`] is called again, and then each goes on from its
    /// position. A snapshot that is interrupted begins anew, which its client is told by [`Subscriptions::end_pause`].
    pub fn pause(&mut self) {
        for subscription in &self.all {
            self.shard.fall_back(&subscription.delivery);
        }
        // They may hold permits, which nobody would give back during the pause.
        self.catching_up = FuturesUnordered::new();
        for subscription in &self.all {
            subscription.delivery.end_catching_up();
        }
    }

    /// Tells the clients of interrupted snapshots.
    pub fn end_pause(&self) {
        self.all.iter().filter(|other| other.needs_snapshot()).for_each(Subscription::say_interrupted);
    }

    /// Finds the subscriptions of which another principal may read other documents than the one who began them.
    ///
    /// # Errors
    /// A database failure.
    pub async fn find_rebound(
        &self,
        before: &Principal,
        after: &Principal,
    ) -> Result<Vec<Subscription>, LiveError> {
        let mut found = Vec::new();
        if is_same_reader(before, after) {
            return Ok(found);
        }
        for subscription in &self.all {
            let delivery = &subscription.delivery;
            let (project, id) = (&delivery.project, &delivery.collection);
            let collection = self.streams.reader().find_known_collection(project, id.as_str()).await?;
            let Some(collection) = collection else { continue };
            let reader = self.streams.reader();
            let params = delivery.asked().map(|asked| asked.params.clone()).unwrap_or_default();
            let (one, other) = (before.with_params(params.clone()), after.with_params(params));
            let one = reader.read_rights(&one, &collection, AsOf::Now).await?;
            if one.readable != reader.read_rights(&other, &collection, AsOf::Now).await?.readable {
                found.push(subscription.clone());
            }
        }
        Ok(found)
    }

    /// Notes who is asking now. If it is somebody else, all subscriptions are paused, and go on when their rights were asked for anew:
    /// these depend on other documents. Returns whether they are paused.
    pub fn set_asker(&mut self, before: &Principal, after: &Principal) -> bool {
        self.asker = Some(Rc::new(after.clone()));
        if is_same_reader(before, after) {
            return false;
        }
        // Those that catch up would ask for the rights of the one before.
        self.pause();
        self.all.iter().for_each(|subscription| subscription.delivery.doubt());
        true
    }

    /// Ends those of these subscriptions that have not ended yet, and returns them.
    pub fn end_these(&mut self, these: &[Subscription]) -> Vec<Subscription> {
        let is_meant = |other: &mut Subscription| these.iter().any(|one| one.is(other));
        let ended: Vec<_> = self.all.extract_if(.., is_meant).collect();
        ended.iter().for_each(|subscription| self.shard.end(&subscription.delivery));
        ended
    }
}

/// Whether two principals have the same rights for the same reasons.
fn is_same_reader(one: &Principal, other: &Principal) -> bool {
    let ids = [one, other].map(|principal| principal.user.as_ref().map(|user| &user.id));
    ids[0] == ids[1] && one.is_server() == other.is_server() && one.key == other.key
}
