//! Time and identity: the only callers of now() and random in the workspace.

use std::fmt;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rand::Rng as _;

/// Where the server gets the time from. Tests hold a [`ManualClock`].
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    pub fn set(&self, now: Timestamp) {
        *self.0.lock().expect("no holder of this lock panics") = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no holder of this lock panics")
    }
}

/// `metav1.Time` on the wire: RFC 3339, UTC, whole seconds.
pub fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random (version 4) UID in its canonical text form.
pub fn new_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The five characters that `generateName` appends; vowels and look-alikes are left out, as in
/// `k8s.io/apimachinery/pkg/util/rand`.
pub fn name_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// A uniformly random fraction in `0.0..1.0`, for jitter.
pub fn random_fraction() -> f64 {
    rand::rng().random::<f64>()
}
