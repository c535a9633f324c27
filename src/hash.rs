//! Hashes that are label values.

use sha2::{Digest as _, Sha256};

/// 128 bits of SHA-256 in hex: a legal label value for a name of any length, and wide enough that
/// two names of a namespace never share it.
pub fn name_hash(name: &str) -> String {
    hex(name.as_bytes(), 16)
}

/// The first `bytes` bytes of SHA-256 in hex.
pub fn hex(content: &[u8], bytes: usize) -> String {
    Sha256::digest(content).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}
