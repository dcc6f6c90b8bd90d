//! The deliveries of one shard, by serial.

use std::rc::Rc;

use super::delivery::Delivery;

/// The deliveries of one shard. A million of them take little more than their addresses.
///
/// A serial is a delivery's place, and above it a count of those that were added. So the serial of one that left is not that
/// of the next one in its place.
#[derive(Default)]
pub(super) struct Deliveries {
    places: Vec<Option<Rc<Delivery>>>,
    free: Vec<u32>,
    /// Wraps around, which takes longer than any message is under way.
    count: u32,
}

impl Deliveries {
    /// Adds a delivery under a new serial, which is never 0, and which it sets.
    pub(super) fn add(&mut self, delivery: Rc<Delivery>) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        self.count = self.count.checked_add(1).unwrap_or(1);
        let serial = u64::from(self.count) << 32 | u64::from(place);
        delivery.serial.set(serial);
        self.places[place as usize] = Some(delivery);
        serial
    }

    /// Returns the delivery with this serial, unless it has left.
    pub(super) fn find(&self, serial: u64) -> Option<&Rc<Delivery>> {
        self.places.get(place(serial))?.as_ref().filter(|delivery| delivery.serial.get() == serial)
    }

    /// Removes a delivery, which has no serial then. Returns the one that it had; `None` if it is not here.
    pub(super) fn remove(&mut self, delivery: &Delivery) -> Option<u64> {
        let serial = delivery.serial.get();
        self.find(serial)?;
        self.places[place(serial)] = None;
        self.free.push(place(serial) as u32);
        delivery.serial.set(0);
        if self.free.len() == self.places.len() {
            (self.places, self.free) = (Vec::new(), Vec::new());
        }
        Some(serial)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<Delivery>> {
        self.places.iter().flatten()
    }
}

fn place(serial: u64) -> usize {
    (serial & u64::from(u32::MAX)) as usize
}
