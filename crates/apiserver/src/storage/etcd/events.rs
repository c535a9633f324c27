//! etcd's watch messages as our events.

use bytes::Bytes;
use etcd_client::proto::PbEvent;

use super::super::{KvBatch, KvError, KvEvent};

/// Puts the events of a revision together again that etcd sent in fragments.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// Of one revision, of which more will come.
    held: Vec<KvEvent>,
}

impl Assembler {
    /// Takes the events of a message, after which more of the same revision may come if
    /// `is_fragment`; returns the revisions that are complete, if any.
    ///
    /// # Errors
    /// For an event that can't be told; the watch must end.
    pub(super) fn add(
        &mut self,
        events: Vec<PbEvent>,
        is_fragment: bool,
    ) -> Result<Option<KvBatch>, KvError> {
        let mut all = std::mem::take(&mut self.held);
        all.reserve(events.len());
        for event in events {
            all.push(translate(event)?);
        }
        if let (true, Some(last)) = (is_fragment, all.last()) {
            let last = last.revision;
            self.held = all.split_off(all.partition_point(|event| event.revision < last));
        }
        // Not the header's revision: a watch that catches up is behind it.
        Ok(all.last().map(|event| event.revision).map(|revision| KvBatch { events: all, revision }))
    }
}

fn translate(event: PbEvent) -> Result<KvEvent, KvError> {
    let kv = event.kv.ok_or_else(|| KvError::Other { detail: "an event has no key".into() })?;
    let key = String::from_utf8(kv.key)
        .map_err(|error| KvError::Other { detail: format!("a key is not UTF-8: {error}") })?;
    let deleted = event.r#type == DELETE;
    let created = !deleted && kv.create_revision == kv.mod_revision;
    let revision = kv.mod_revision;
    let previous = event.prev_kv.map(|kv| Bytes::from(kv.value));
    if previous.is_none() && !created {
        // The value before was compacted away: without it a selector can't be followed.
        return Err(KvError::Compacted { asked: revision, compacted: revision });
    }
    let value = (!deleted).then(|| Bytes::from(kv.value));
    Ok(KvEvent { key, value, previous, revision })
}

/// `mvccpb.Event.DELETE`.
const DELETE: i32 = 1;

#[cfg(test)]
mod tests {
    use etcd_client::proto::PbKeyValue;

    use super::*;

    fn put(key: &str, revision: i64) -> PbEvent {
        let kv = PbKeyValue {
            key: key.into(),
            create_revision: revision,
            mod_revision: revision,
            ..PbKeyValue::default()
        };
        PbEvent { kv: Some(kv), ..PbEvent::default() }
    }

    fn told(batch: Option<KvBatch>) -> Option<(i64, Vec<String>)> {
        batch.map(|b| (b.revision, b.events.into_iter().map(|event| event.key).collect()))
    }

    #[test]
    fn holds_a_revision_until_it_is_whole() {
        let mut assembler = Assembler::default();
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let first = assembler.add(vec![put("a", 1), put("b", 2)], true).unwrap();
        assert_eq!(told(first), Some((1, keys(&["a"]))));
        assert_eq!(told(assembler.add(vec![put("c", 2)], true).unwrap()), None);
        let rest = assembler.add(vec![put("d", 2), put("e", 3)], false).unwrap();
        assert_eq!(told(rest), Some((3, keys(&["b", "c", "d", "e"]))));
        let next = assembler.add(vec![put("f", 4)], false).unwrap();
        assert_eq!(told(next), Some((4, keys(&["f"]))));
    }

    #[test]
    fn refuses_a_change_without_the_value_before() {
        let mut event = put("a", 5);
        event.kv.as_mut().unwrap().create_revision = 4;
        let error = Assembler::default().add(vec![event], false).unwrap_err();
        assert!(matches!(error, KvError::Compacted { .. }), "{error}");
    }
}
