//! Random numbers that can be repeated: the same seed gives the same numbers.

use std::{cell::Cell, rc::Rc, time::Duration};

/// SplitMix64 (Steele, Lea and Flood: Fast Splittable Pseudorandom Number Generators). Clones share one sequence.
#[derive(Clone)]
pub struct Dice(Rc<Cell<u64>>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must give unrelated numbers.
        let dice = Self(Rc::new(Cell::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))));
        dice.next();
        dice
    }

    /// Returns new dice, whose numbers depend only on these.
    pub fn split(&self) -> Self {
        Self(Rc::new(Cell::new(self.next())))
    }

    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mixed = self.0.get();
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`.
    pub fn under(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Returns true in this percentage of calls.
    pub fn percent(&self, percent: u64) -> bool {
        self.under(100) < percent
    }

    /// Returns one of the choices.
    pub fn pick<T: Clone>(&self, choices: &[T]) -> T {
        choices[self.under(choices.len() as u64) as usize].clone()
    }

    /// Returns a time of up to `most` milliseconds. Short times are more frequent.
    pub fn delay(&self, most: u64) -> Duration {
        let bound = 1 + self.under(most);
        Duration::from_millis(self.under(bound))
    }
}
