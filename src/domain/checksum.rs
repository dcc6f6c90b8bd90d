//! A checksum of short texts that clients send back.

/// Returns the FNV-1a hash of 32 bits. It finds slips, not forgeries: a cursor grants nothing, so it needs no signature.
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
