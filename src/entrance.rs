//! Where requests find what answers them once it is there: the table of kinds is made before the
//! registries that it needs.

use std::fmt;
use std::sync::{Arc, OnceLock};

use apiserver::status::ApiError;

/// Shut until it is opened. Clones share it.
pub struct Entrance<T>(Arc<OnceLock<T>>);

impl<T> Default for Entrance<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Entrance<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Entrance<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrance").finish_non_exhaustive()
    }
}

impl<T> Entrance<T> {
    /// Lets requests in. The first call counts.
    pub fn open(&self, behind: T) {
        self.0.get_or_init(|| behind);
    }

    /// # Errors
    /// 503 until it is opened.
    pub fn get(&self) -> Result<&T, ApiError> {
        self.0.get().ok_or_else(|| ApiError::service_unavailable("the server is starting"))
    }
}
