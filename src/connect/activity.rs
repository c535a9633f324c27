//! When a sandbox was last used. Known to this server alone, in
//! memory alone: nothing is written to the store for it, and a restart forgets it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use apiserver::clock::Clock;
use apiserver::meta::Object;
use apiserver::resource::Decorator;
use jiff::{Timestamp, Unit};
use serde_json::{Map, Value};

/// Sandboxes that are remembered; beyond, those go that were used longest ago.
const REMEMBERED_MAX: usize = 20_000;

/// The use of all sandboxes, by `namespace/name`. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Mutex<HashMap<String, Arc<Use>>>>);

#[derive(Debug, Default)]
struct Use {
    uid: String,
    open: AtomicUsize,
    /// Milliseconds since 1970.
    last: AtomicI64,
}

impl Activity {
    /// The moment at which a byte last passed, or a stream last began or ended.
    fn last(&self, path: &str, uid: &str) -> Option<Timestamp> {
        let it = self.all().get(path).filter(|it| it.uid == uid)?.clone();
        Timestamp::from_millisecond(it.last.load(Ordering::Relaxed)).ok()
    }

    /// A stream begins, and ends with what is returned.
    pub(super) fn begin(&self, sandbox: &Object, clock: Arc<dyn Clock>) -> InUse {
        let (path, uid) = (sandbox.key().to_string(), sandbox.uid());
        let of = {
            let mut all = self.all();
            if all.len() >= REMEMBERED_MAX && !all.contains_key(&path) {
                forget_half(&mut all);
            }
            let fresh = || Arc::new(Use { uid: uid.to_owned(), ..Use::default() });
            let of = all.entry(path).or_insert_with(fresh);
            // Another has the name now.
            if of.uid != uid {
                *of = fresh();
            }
            of.clone()
        };
        of.open.fetch_add(1, Ordering::Relaxed);
        let stream = InUse { of, clock, to_pod: AtomicU64::new(0), from_pod: AtomicU64::new(0) };
        stream.touch();
        stream
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Use>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

const STATUS: &str = "status";
const FIELD: &str = "lastActivityTime";

impl Decorator for Activity {
    fn concerns(&self, path: &str) -> bool {
        self.all().contains_key(path)
    }

    fn decorate(&self, object: &mut Object) {
        let Some(last) = self.last(&object.key().to_string(), object.uid()) else { return };
        let last = last.round(Unit::Second).unwrap_or(last);
        let status = object.0.entry(STATUS).or_insert_with(|| Map::new().into());
        if let Some(status) = status.as_object_mut() {
            status.insert(FIELD.into(), last.to_string().into());
        }
    }

    fn strip(&self, object: &mut Object) {
        if let Some(status) = object.0.get_mut(STATUS).and_then(Value::as_object_mut) {
            status.shift_remove(FIELD);
        }
    }
}

/// Keeps what is in use and the younger half of the rest.
fn forget_half(all: &mut HashMap<String, Arc<Use>>) {
    let mut moments: Vec<i64> = all.values().map(|it| it.last.load(Ordering::Relaxed)).collect();
    let middle = moments.len() / 2;
    let (_, middle, _) = moments.select_nth_unstable(middle);
    let middle = *middle;
    all.retain(|_, it| {
        it.open.load(Ordering::Relaxed) > 0 || it.last.load(Ordering::Relaxed) > middle
    });
}

/// One open stream, and what has passed through it.
#[derive(Debug)]
pub(super) struct InUse {
    of: Arc<Use>,
    clock: Arc<dyn Clock>,
    to_pod: AtomicU64,
    from_pod: AtomicU64,
}

impl InUse {
    /// Of no sandbox, for tests of what moves bytes.
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Activity::default().begin(&Object::default(), Arc::new(apiserver::clock::SystemClock))
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.to_pod.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    pub(super) fn received(&self, bytes: usize) {
        self.from_pod.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Bytes to the Pod and from it.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.to_pod.load(Ordering::Relaxed), self.from_pod.load(Ordering::Relaxed))
    }

    fn touch(&self) {
        self.of.last.fetch_max(self.clock.now().as_millisecond(), Ordering::Relaxed);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.touch();
        self.of.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use apiserver::clock::SystemClock;
    use serde_json::json;

    use super::*;

    fn sandbox(name: &str, uid: &str) -> Object {
        let metadata = json!({"namespace": "ns", "name": name, "uid": uid});
        Object::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn begin(activity: &Activity, sandbox: &Object) -> InUse {
        activity.begin(sandbox, Arc::new(SystemClock))
    }

    fn open(activity: &Activity) -> usize {
        activity.all()["ns/a"].open.load(Ordering::Relaxed)
    }

    #[test]
    fn the_last_use_outlives_the_stream() {
        let activity = Activity::default();
        let mut object = sandbox("a", "u");
        assert!(!activity.concerns("ns/a"));
        let before = SystemClock.now().as_millisecond();
        let first = begin(&activity, &object);
        let second = begin(&activity.clone(), &object);
        assert_eq!(open(&activity), 2);
        first.sent(3);
        first.received(4);
        assert_eq!((first.bytes(), second.bytes()), ((3, 4), (0, 0)));
        drop((first, second));
        assert_eq!(open(&activity), 0);
        let last = activity.last("ns/a", "u").unwrap().as_millisecond();
        assert!((before..=SystemClock.now().as_millisecond()).contains(&last));

        assert!(activity.concerns("ns/a") && !activity.concerns("ns/b"));
        activity.decorate(&mut object);
        let shown = object.at("status.lastActivityTime").unwrap().as_str().unwrap();
        assert_eq!(shown.len(), "2026-01-01T00:00:00Z".len(), "{shown}");
        assert!((shown.parse::<Timestamp>().unwrap().as_millisecond() - last).abs() <= 500);
        activity.strip(&mut object);
        assert_eq!(object.at("status"), Some(&json!({})));
        // Another of the name was never used; once it is, it is that one.
        let mut other = sandbox("a", "v");
        activity.decorate(&mut other);
        assert_eq!(other.at("status"), None);
        drop(begin(&activity, &other));
        assert!(activity.last("ns/a", "u").is_none() && activity.last("ns/a", "v").is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let activity = Activity::default();
        let open = begin(&activity, &sandbox("a", "u"));
        activity.all()["ns/a"].last.store(0, Ordering::Relaxed);
        for index in 0..i64::try_from(REMEMBERED_MAX).unwrap() + 10 {
            drop(begin(&activity, &sandbox(&format!("b{index}"), "u")));
            activity.all()[&format!("ns/b{index}")].last.store(index, Ordering::Relaxed);
        }
        assert!((REMEMBERED_MAX / 3..=REMEMBERED_MAX).contains(&activity.all().len()));
        assert!(activity.concerns("ns/a"), "it is in use");
        assert!(!activity.concerns("ns/b0"));
        assert!(activity.concerns(&format!("ns/b{REMEMBERED_MAX}")));
        drop(open);
    }
}
