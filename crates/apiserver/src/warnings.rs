//! `Warning` headers collected while a request is handled.

use std::sync::{Arc, Mutex};

/// Texts for `Warning: 299 - "..."` headers, in order, without repetition.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut all = self.0.lock().expect("no holder of this lock panics");
        if !text.is_empty() && !all.contains(&text) {
            all.push(text);
        }
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no holder of this lock panics"))
    }
}
