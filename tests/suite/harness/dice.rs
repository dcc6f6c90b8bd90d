//! Random numbers that can be repeated: the same seed gives the same numbers.

/// SplitMix64 (Steele, Lea and Flood: Fast Splittable Pseudorandom Number Generators).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns new dice, whose numbers depend only on these.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// Returns a number below `bound`.
    pub fn under(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Returns a number of milliseconds in a range.
    #[allow(dead_code, reason = "the chaos suite uses it")]
    pub fn milliseconds(&mut self, range: std::ops::Range<usize>) -> std::time::Duration {
        std::time::Duration::from_millis((range.start + self.under(range.len())) as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Returns the number in this environment variable, or `default`.
pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Returns the seed in `COIR_TEST_SEED`, or one that depends on the time. It is printed, so that the run can be repeated.
pub fn seed(test: &str) -> u64 {
    let now = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 % 1_000_000_007
    };
    let seed = std::env::var("COIR_TEST_SEED").map_or_else(|_| now(), |text| text.parse().unwrap());
    eprintln!("{test}: COIR_TEST_SEED={seed}");
    seed
}
