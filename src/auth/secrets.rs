//! The secrets that the server signs with.

/// A secret, and the one before it, with which tokens may still be signed.
#[derive(Clone)]
pub struct Secrets {
    pub current: Vec<u8>,
    pub previous: Option<Vec<u8>>,
}

impl Secrets {
    /// Returns them, the current one first.
    pub fn all(&self) -> impl Iterator<Item = &Vec<u8>> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}
