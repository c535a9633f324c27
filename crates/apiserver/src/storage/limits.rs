//! What a transaction may be, on every store: etcd's own limits by default.

use std::collections::HashSet;

use super::{Expect, KvError, Write};

/// The size of a transaction that every store takes.
///
/// # Errors
/// [`KvError::TooLarge`], or [`KvError::Other`] in etcd's words for what makes no sense.
pub(super) fn check(guards: &[(String, Expect)], writes: &[Write]) -> Result<usize, KvError> {
    if guards.len().max(writes.len()) > OPERATIONS_MAX {
        return Err(KvError::Other { detail: "too many operations in txn request".into() });
    }
    // A guard's key is in the condition, and again in the read for who fails it.
    let mut bytes: usize = guards.iter().map(|(key, _)| 2 * (key.len() + ENVELOPE_BYTES)).sum();
    let mut keys = HashSet::new();
    for write in writes {
        let (key, size) = match write {
            Write::Put { key, value } => (key, value.len()),
            Write::Delete { key } => (key, 0),
        };
        if key.is_empty() {
            return Err(KvError::Other { detail: "key is not provided".into() });
        }
        if !keys.insert(key) {
            return Err(KvError::Other { detail: "duplicate key given in txn request".into() });
        }
        bytes += key.len() + size + ENVELOPE_BYTES;
    }
    if bytes > TXN_BYTES_MAX {
        return Err(KvError::TooLarge { detail: format!("limit is {TXN_BYTES_MAX}") });
    }
    Ok(bytes)
}

/// etcd's `--max-request-bytes`. It also counts what is around keys and values, therefore the
/// envelopes: what passes here passes there.
const TXN_BYTES_MAX: usize = 1536 * 1024;
const ENVELOPE_BYTES: usize = 64;
/// etcd's `--max-txn-ops`.
const OPERATIONS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn names_the_limit() {
        let put = |bytes: usize| {
            vec![Write::Put { key: "a".into(), value: Bytes::from(vec![b'x'; bytes]) }]
        };
        assert!(check(&[], &put(TXN_BYTES_MAX - 65)).is_ok());
        let error = check(&[], &put(TXN_BYTES_MAX - 64)).unwrap_err();
        assert_eq!(error.to_string(), "value too large: limit is 1572864");
    }
}
