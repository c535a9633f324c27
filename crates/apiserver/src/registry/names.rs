//! `metadata.generateName`.

use crate::clock::name_suffix;

/// Names tried before a create gives up (`[apiserver] pkg/registry/generic/registry/store.go`).
pub(super) const ATTEMPTS_MAX: usize = 8;

/// Leaves room for the suffix in a name that must also be usable as a label value.
const BASE_CHARS_MAX: usize = 58;

/// `base`, cut short if need be, with five random characters.
pub(super) fn generate(base: &str) -> String {
    let base: String = base.chars().take(BASE_CHARS_MAX).collect();
    format!("{base}{}", name_suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_short() {
        assert_eq!(generate("web-").len(), 9);
        assert!(generate("web-").starts_with("web-"));
        assert_eq!(generate(&"x".repeat(100)).len(), 63);
    }
}
