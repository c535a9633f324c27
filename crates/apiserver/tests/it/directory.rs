//! A directory of a test's own.

use std::path::PathBuf;

use apiserver::clock::new_uid;

/// Removed with its value.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("apiserver-it-{}", new_uid()));
        std::fs::create_dir(&path).unwrap();
        Self { path }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}
