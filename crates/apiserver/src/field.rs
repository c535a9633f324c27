//! Field errors with Kubernetes' exact texts (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::fmt;

/// What is wrong with a field; decides the cause's reason and the text's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    InternalError,
    TypeInvalid,
}

impl ErrorType {
    /// The `reason` of a `StatusCause`.
    pub fn cause(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::InternalError => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::InternalError => "Internal error",
        }
    }
}

/// One invalid field. `body` is the text without the field's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    pub kind: ErrorType,
    pub field: String,
    body: String,
}

impl FieldError {
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::bare(ErrorType::Required, field, detail)
    }

    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::bare(ErrorType::Forbidden, field, detail)
    }

    /// `value` as Go prints it with `%#v` for scalars, else as JSON.
    pub fn invalid(field: impl Into<String>, value: &serde_json::Value, detail: &str) -> Self {
        Self::with_value(ErrorType::Invalid, field, value, detail)
    }

    pub fn type_invalid(field: impl Into<String>, value: &serde_json::Value, detail: &str) -> Self {
        Self::with_value(ErrorType::TypeInvalid, field, value, detail)
    }

    pub fn duplicate(field: impl Into<String>, value: &serde_json::Value) -> Self {
        Self::with_value(ErrorType::Duplicate, field, value, "")
    }

    pub fn not_found(field: impl Into<String>, value: &serde_json::Value) -> Self {
        Self::with_value(ErrorType::NotFound, field, value, "")
    }

    /// `supported values: "A", "B"` in the order given.
    pub fn not_supported(
        field: impl Into<String>,
        value: &serde_json::Value,
        supported: &[&str],
    ) -> Self {
        let list = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        let detail =
            if list.is_empty() { String::new() } else { format!("supported values: {list}") };
        Self::with_value(ErrorType::NotSupported, field, value, &detail)
    }

    pub fn too_long(field: impl Into<String>, max_bytes: usize) -> Self {
        let detail = format!("may not be more than {max_bytes} bytes");
        Self::bare(ErrorType::TooLong, field, &detail)
    }

    /// An error whose value is already in Go's print form (for example `0x0`).
    pub fn raw(kind: ErrorType, field: impl Into<String>, printed: &str, detail: &str) -> Self {
        let mut body = format!("{}: {printed}", kind.text());
        if !detail.is_empty() {
            body = format!("{body}: {detail}");
        }
        Self { kind, field: field.into(), body }
    }

    fn bare(kind: ErrorType, field: impl Into<String>, detail: &str) -> Self {
        let body = if detail.is_empty() {
            kind.text().to_owned()
        } else {
            format!("{}: {detail}", kind.text())
        };
        Self { kind, field: field.into(), body }
    }

    fn with_value(
        kind: ErrorType,
        field: impl Into<String>,
        value: &serde_json::Value,
        detail: &str,
    ) -> Self {
        Self::raw(kind, field, &value.to_string(), detail)
    }

    /// The text without the field: a `StatusCause`'s message.
    pub fn body(&self) -> &str {
        &self.body
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}
