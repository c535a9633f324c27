//! Label and field selectors: parsing with Kubernetes' texts, matching, printing.

mod field;
mod label;

pub use self::field::FieldSelector;
pub use self::label::LabelSelector;
