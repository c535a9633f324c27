//! What every [`Kv`] must do, as named cases. [`kv_conformance!`](crate::kv_conformance) makes a
//! test of each, for one store.
//!
//! The cases take etcd's behaviour as the meaning. Those of [`history`] compact and need a store
//! of their own; the others share one, each under its own prefix.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

pub mod history;
pub mod objects;
pub mod progress;
pub mod reads;
pub mod watches;
pub mod writes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;

use super::{Expect, Kv, KvEvent, KvWatch, Outcome, Revision, Write};

/// A store, and a part of its keys that nobody else touches. The store reports progress at least
/// every second.
#[derive(Debug)]
pub struct Fixture {
    pub kv: Arc<dyn Kv>,
    /// Without a slash at its end.
    pub prefix: String,
}

impl Fixture {
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv, prefix: format!("/conformance/{}", crate::clock::new_uid()) }
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// The prefix of all keys of the case.
    fn all(&self) -> String {
        self.key("")
    }

    async fn put(&self, name: &str, value: &str) -> Revision {
        done(self.kv.txn(Vec::new(), vec![self.write(name, value)]).await.unwrap())
    }

    async fn delete(&self, name: &str) -> Revision {
        let write = Write::Delete { key: self.key(name) };
        done(self.kv.txn(Vec::new(), vec![write]).await.unwrap())
    }

    fn write(&self, name: &str, value: &str) -> Write {
        Write::Put { key: self.key(name), value: Bytes::from(value.to_owned()) }
    }

    fn guard(&self, name: &str, expect: Expect) -> (String, Expect) {
        (self.key(name), expect)
    }

    async fn value(&self, name: &str) -> Option<String> {
        self.value_at(name, None).await
    }

    async fn value_at(&self, name: &str, at: Option<Revision>) -> Option<String> {
        let got = self.kv.get(&self.key(name), at).await.unwrap();
        got.kv.map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
    }

    async fn revision(&self) -> Revision {
        self.kv.count(&self.all()).await.unwrap().1
    }

    async fn watch(&self, from: Revision) -> KvWatch {
        self.kv.watch(&self.all(), from).await.unwrap()
    }

    /// `name=value` of each event, `name=value<previous`, or `-name<previous`, with no revisions.
    fn short(&self, events: &[KvEvent]) -> Vec<String> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let all = self.all();
        let short = |event: &KvEvent| {
            let name = event.key.strip_prefix(&all).expect("a key of the watched prefix");
            let previous = event.previous.as_ref().map(|p| format!("<{}", text(p)));
            let previous = previous.unwrap_or_default();
            match &event.value {
                Some(value) => format!("{name}={}{previous}", text(value)),
                None => format!("-{name}{previous}"),
            }
        };
        events.iter().map(short).collect()
    }
}

fn done(outcome: Outcome) -> Revision {
    match outcome {
        Outcome::Done(revision) => revision,
        Outcome::Conflict(current) => panic!("a conflict with {current:?}"),
    }
}

/// The next `count` events; checks that revisions never go back and that a batch's revision is
/// that of its last event.
async fn events(watch: &mut KvWatch, count: usize) -> Vec<KvEvent> {
    let mut events: Vec<KvEvent> = Vec::new();
    let mut last = 0;
    while events.len() < count {
        let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("events in time");
        let batch = item.expect("the watch goes on").unwrap();
        for event in &batch.events {
            assert!(event.revision >= last, "{} after {last}", event.revision);
            last = event.revision;
        }
        if let Some(event) = batch.events.last() {
            assert_eq!(event.revision, batch.revision);
        }
        events.extend(batch.events);
    }
    assert_eq!(events.len(), count, "more events than were made: {events:?}");
    events
}

/// Waits until the watch says that it has delivered everything up to `revision`; returns what
/// came before.
async fn progress(watch: &mut KvWatch, revision: Revision) -> Vec<KvEvent> {
    let mut events = Vec::new();
    loop {
        let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("progress in time");
        let batch = item.expect("the watch goes on").unwrap();
        let reached = batch.revision >= revision;
        events.extend(batch.events);
        if reached {
            return events;
        }
    }
}

/// Makes a `#[tokio::test]` of every case, in modules `reads`, `writes`, `watches`, `progress` and
/// `history`.
///
/// `shared`, `own` and `quiet` are paths of `async fn() -> (Fixture, impl Sized)`; the second value
/// is kept until the case is over. `own` makes a store that the case may compact, `quiet` one that
/// reports no progress for an hour unless it is asked.
#[macro_export]
macro_rules! kv_conformance {
    (shared = $shared:path, own = $own:path, quiet = $quiet:path $(,)?) => {
        $crate::kv_conformance!(@module reads, $shared,
            get_returns_value_and_revision, get_of_a_missing_key_has_the_stores_revision,
            get_reads_its_own_write, get_at_a_revision_sees_the_past,
            get_at_revision_zero_is_now, get_before_creation_and_after_deletion_finds_nothing,
            get_at_a_future_revision_is_refused, list_is_in_bytewise_order,
            list_keeps_to_its_prefix, list_of_nothing_is_empty, list_pages_with_limit_and_start,
            list_pages_at_one_revision_while_writes_go_on, list_at_a_revision_sees_the_past,
            list_at_a_future_revision_is_refused, list_start_may_lie_between_keys,
            list_start_at_the_end_is_empty,
            list_start_before_the_prefix_is_its_beginning, list_limit_larger_than_the_rest_returns_the_rest,
            list_more_keys_than_one_call_gives, list_of_keys_only_has_no_values,
            list_of_large_values_is_of_one_revision, count_follows_writes_and_deletes, is_healthy,
        );
        $crate::kv_conformance!(@module writes, $shared,
            put_makes_a_larger_revision, put_keeps_any_bytes, put_of_an_empty_value_is_a_value,
            delete_removes, delete_of_a_missing_key_changes_nothing,
            a_deleted_key_can_be_created_again, guard_absent_holds_once,
            guard_revision_holds_for_the_last_write_only, guard_revision_of_a_missing_key_fails,
            conflict_shows_current_values_in_the_guards_order,
            a_failed_guard_prevents_every_write, all_writes_share_one_revision,
            a_guard_may_be_on_another_key, a_guarded_delete_checks, a_key_twice_is_refused,
            too_many_operations_are_refused, a_huge_value_is_refused, a_large_value_is_kept,
            concurrent_writers_get_unique_revisions, concurrent_creates_have_one_winner,
            concurrent_updates_lose_nothing,
        );
        $crate::kv_conformance!(@module watches, $shared,
            watch_replays_history_from_its_revision, watch_hears_what_comes,
            watch_goes_from_history_to_news_without_a_gap, watch_keeps_to_its_prefix,
            watch_has_previous_values, watch_tells_creation_after_deletion,
            watch_keeps_a_transaction_together_and_in_order, watch_reports_progress,
            watch_progress_is_never_ahead_of_events, watch_from_the_future_waits,
            watch_hears_nothing_of_failed_transactions,
            watch_hears_nothing_of_deletes_of_missing_keys, watches_hear_the_same,
            watch_of_one_key_may_be_a_prefix, watch_resumes_where_another_ended,
            watch_under_concurrent_writers_misses_nothing, a_slow_watch_never_has_a_gap,
        );
        $crate::kv_conformance!(@module progress, $quiet,
            progress_comes_when_asked, progress_comes_to_a_watch_that_waits_for_its_start,
            progress_comes_to_every_watch, progress_comes_after_history,
            progress_is_not_held_up_by_a_watch_from_the_future,
            progress_is_not_held_up_by_an_unread_watch, asked_progress_is_never_ahead_of_events,
            a_stalled_watch_holds_up_nobody,
        );
        $crate::kv_conformance!(@module history, $own,
            revisions_have_no_holes, compaction_refuses_older_gets,
            compaction_refuses_older_lists, compaction_refuses_older_watches,
            compaction_keeps_its_own_revision_readable, compaction_keeps_the_current_state,
            compaction_keeps_later_history, compaction_twice_is_refused,
            compaction_of_the_future_is_refused, compaction_forgets_deleted_keys,
            compaction_leaves_open_watches_alone, watch_after_compaction_has_previous_values,
        );
    };
    (@module $module:ident, $make:path, $($case:ident),+ $(,)?) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    let (fixture, _kept) = $make().await;
                    $crate::storage::conformance::$module::$case(&fixture).await;
                }
            )+
        }
    };
}

/// Longer than any store's progress interval.
const PATIENCE: Duration = Duration::from_secs(10);
