//! Delete, alone and by collection.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::metadata::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER};
use super::{Item, ObjectList, Store};
use crate::auth::Permit;
use crate::clock::format_time;
use crate::meta::{Object, ObjectKey, Scope};
use crate::request::{DeleteOptions, ListOptions, Propagation};
use crate::status::{ApiError, Reason};
use crate::storage::{Change, Updated};

/// What has become of a deleted object.
#[derive(Debug)]
pub enum DeleteOutcome {
    /// Gone; the last content, with the revision of the deletion.
    Removed(Object),
    /// Marked, and kept until its finalizers are gone.
    Pending(Object),
    /// Gone, and nobody knows what it was.
    Unreadable,
}

/// Deletions of one collection request that run at once.
const PARALLEL_DELETES: usize = 10;

impl Store {
    /// Removes the object, or marks it while finalizers (also those that the propagation policy
    /// adds) hold it. Grace periods are not served: kinds use finalizers.
    ///
    /// # Errors
    /// 404; 409 when a precondition does not hold.
    pub async fn delete(
        &self,
        _permit: &Permit,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<DeleteOutcome, ApiError> {
        let inner = &self.inner;
        if options.ignore_read_error {
            inner.objects.store().delete_unreadable(key, options.dry_run).await?;
            return Ok(DeleteOutcome::Unreadable);
        }
        let change = |old: &Object| {
            inner.check_preconditions(&options.preconditions, old)?;
            let before = old.finalizers();
            let finalizers = finalizers_after(&before, options.propagation);
            let mut object = old.clone();
            object.set_finalizers(&finalizers);
            if finalizers.is_empty() {
                return Ok(Change::Delete(object));
            }
            if old.deletion_timestamp().is_none() {
                object.set_meta("deletionTimestamp", format_time(inner.clock.now()));
                object.set_meta("deletionGracePeriodSeconds", 0);
                object.set_meta("generation", old.generation() + 1);
            }
            Ok(Change::Put(object))
        };
        Ok(match inner.objects.guaranteed_update(key, options.dry_run, change).await? {
            Updated::Deleted(object) => DeleteOutcome::Removed(object),
            Updated::Stored(object) => DeleteOutcome::Pending(object),
        })
    }

    /// Deletes what `list` selects, ten at a time, and returns it as it was before. Objects that
    /// someone else deletes (or replaces by another of the same name) meanwhile are passed over.
    ///
    /// # Errors
    /// As [`Store::list`] and [`Store::delete`]; earlier deletions stay done.
    pub async fn delete_collection(
        &self,
        permit: &Permit,
        scope: &Scope,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ObjectList, ApiError> {
        let mut listed = self.list(permit, scope, list).await?;
        let items = std::mem::take(&mut listed.items);
        let deletions = items.into_iter().map(|item| {
            let (store, permit, options) = (self.clone(), permit.clone(), options.clone());
            async move { store.delete_listed(&permit, item, options).await }
        });
        let deleted: Vec<Option<Arc<Item>>> =
            stream::iter(deletions).buffered(PARALLEL_DELETES).try_collect().await?;
        listed.items = deleted.into_iter().flatten().collect();
        Ok(listed)
    }

    async fn delete_listed(
        &self,
        permit: &Permit,
        item: Arc<Item>,
        mut options: DeleteOptions,
    ) -> Result<Option<Arc<Item>>, ApiError> {
        let own_precondition = options.preconditions.uid.is_none();
        if own_precondition {
            options.preconditions.uid = Some(item.object()?.uid().to_owned());
        }
        match self.delete(permit, &item.key(), &options).await {
            Ok(_) => Ok(Some(item)),
            Err(error) if error.is_not_found() => Ok(None),
            // The name belongs to a newer object, which nobody selected.
            Err(error)
                if own_precondition
                    && *error.reason() == Reason::Conflict
                    && options.preconditions.resource_version.is_none() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The finalizers of an object once its deletion has been asked for. Without a policy, what a
/// former request or its creator put there decides; the default is background deletion.
fn finalizers_after(before: &[String], propagation: Option<Propagation>) -> Vec<String> {
    let wanted = match propagation {
        Some(Propagation::Orphan) => Some(ORPHAN_FINALIZER),
        Some(Propagation::Foreground) => Some(FOREGROUND_FINALIZER),
        Some(Propagation::Background) => None,
        None => return before.to_vec(),
    };
    let mut after: Vec<String> = before
        .iter()
        .filter(|name| !matches!(name.as_str(), ORPHAN_FINALIZER | FOREGROUND_FINALIZER))
        .cloned()
        .collect();
    after.extend(wanted.map(str::to_owned));
    after
}
