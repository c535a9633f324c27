//! Objects that were decoded a moment ago.
//!
//! What is written is looked at by several readers at almost the same time, each of which needs the
//! object: those that follow a kind inside the server, and watches that show it in a form of their
//! own. To keep every object decoded would cost several times what its text does.

use std::sync::Arc;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::meta::Object;

/// Bytes of JSON whose objects are kept, of each kind.
const BYTES_MAX: u64 = 1 << 20;
/// A larger one would push out many others.
const OBJECT_BYTES_MAX: usize = 64 << 10;

/// By where the text is: it is held, so nothing else can come to be there.
#[derive(Debug)]
pub(super) struct Decoded(Cache<usize, (Bytes, Arc<Object>)>);

impl Default for Decoded {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(BYTES_MAX)
            .weigher(|_, (json, _): &(Bytes, _)| u32::try_from(json.len()).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru());
        Self(cache.build())
    }
}

impl Decoded {
    pub(super) fn object(&self, json: Bytes) -> Result<Arc<Object>, serde_json::Error> {
        if json.len() > OBJECT_BYTES_MAX {
            return serde_json::from_slice(&json).map(Arc::new);
        }
        let place = json.as_ptr().addr();
        if let Some((_, object)) = self.0.get(&place) {
            return Ok(object);
        }
        let object = Arc::new(serde_json::from_slice(&json)?);
        self.0.insert(place, (json, Arc::clone(&object)));
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> Bytes {
        format!("{{\"kind\":\"K\"}}{}", " ".repeat(bytes - 12)).into()
    }

    #[test]
    fn a_text_is_decoded_once_while_there_is_room() {
        let decoded = Decoded::default();
        let get = |json: &Bytes| decoded.object(json.clone()).unwrap();
        let (one, alike, large) = (text(1_000), text(1_000), text(OBJECT_BYTES_MAX + 1));
        let first = get(&one);
        assert!(Arc::ptr_eq(&first, &get(&one)));
        assert!(!Arc::ptr_eq(&first, &get(&alike)), "another text, however alike");
        assert!(!Arc::ptr_eq(&get(&large), &get(&large)));
        for _ in 0..100 {
            get(&text(OBJECT_BYTES_MAX));
        }
        decoded.0.run_pending_tasks();
        assert!(decoded.0.weighted_size() <= BYTES_MAX);
        assert!(!Arc::ptr_eq(&first, &get(&one)), "the oldest went");
        assert!(decoded.object(Bytes::from_static(b"{")).is_err());
    }
}
