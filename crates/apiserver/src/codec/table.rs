//! The Table form (`[apiserver] pkg/registry/rest/table.go`, `pkg/endpoints/handlers/response.go`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::partial::partial;
use crate::field::{ErrorType, FieldError};
use crate::meta::Object;
use crate::resource::{Column, ResourceDef};
use crate::status::ApiError;

/// `includeObject`: what each row carries besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// # Errors
    /// 400 with Kubernetes' text for an unknown value.
    pub fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        match text {
            None | Some("" | "Metadata") => Ok(Self::Metadata),
            Some("Object") => Ok(Self::Object),
            Some("None") => Ok(Self::None),
            Some(other) => {
                let error = FieldError::raw(
                    ErrorType::Invalid,
                    "includeObject",
                    &format!("{other:?}"),
                    "must be 'Metadata', 'Object', 'None', or empty",
                );
                Err(ApiError::bad_request(format!(
                    "Unable to convert to Table as requested: {error}"
                )))
            }
        }
    }
}

/// Makes Tables of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    pub def: &'a ResourceDef,
    pub version: &'static str,
    pub include: IncludeObject,
    pub now: Timestamp,
}

impl Tables<'_> {
    /// `columnDefinitions`.
    pub fn columns(&self) -> Value {
        let mut all = vec![json!({
            "name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name must be unique within a namespace.",
        })];
        let mut age = !self.def.columns.iter().any(|c| c.name == "Age");
        for column in &self.def.columns {
            // Age stands after the narrow columns and before the wide ones, as kubectl users know it.
            if age && column.priority > 0 {
                all.push(age_definition());
                age = false;
            }
            all.push(definition(column));
        }
        if age {
            all.push(age_definition());
        }
        Value::Array(all)
    }

    /// One row.
    pub fn row(&self, object: &Object) -> Value {
        let mut cells = vec![Value::from(object.name())];
        let created = object.meta_str("creationTimestamp");
        let mut age = !self.def.columns.iter().any(|c| c.name == "Age");
        for column in &self.def.columns {
            if age && column.priority > 0 {
                cells.push(self.age(created));
                age = false;
            }
            let value = (column.cell)(object);
            // What is absent stays empty, as in `[apiextensions] tableconvertor.go`.
            let is_moment = column.kind == "date" && !value.is_null();
            cells.push(if is_moment { self.age(value.as_str()) } else { value });
        }
        if age {
            cells.push(self.age(created));
        }
        match self.include {
            IncludeObject::None => json!({ "cells": cells, "object": null }),
            IncludeObject::Metadata => {
                json!({ "cells": cells, "object": partial(object, self.version) })
            }
            IncludeObject::Object => json!({ "cells": cells, "object": object }),
        }
    }

    /// A whole Table; `metadata` is the list's (or the object's resourceVersion).
    pub fn table(&self, metadata: Value, rows: Vec<Value>, with_columns: bool) -> Value {
        let columns = if with_columns { self.columns() } else { Value::Array(Vec::new()) };
        json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{}", self.version),
            "metadata": metadata,
            "columnDefinitions": columns,
            "rows": rows,
        })
    }

    fn age(&self, time: Option<&str>) -> Value {
        let Some(time) = time else { return "<unknown>".into() };
        match time.parse::<Timestamp>() {
            Ok(then) => human_duration(self.now.as_second() - then.as_second()).into(),
            Err(_) => "<invalid>".into(),
        }
    }
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.kind, "format": "",
        "description": column.description, "priority": column.priority,
    })
}

fn age_definition() -> Value {
    json!({
        "name": "Age", "type": "date", "format": "", "priority": 0,
        "description": "The time since the object was created.",
    })
}

/// A duration as kubectl prints ages (`[apimachinery] pkg/util/duration/duration.go`): at most two
/// units, coarser with age.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    match seconds {
        // Clocks of two machines may differ a little.
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => pair(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => pair(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => pair(seconds / YEAR, "y", seconds % YEAR / DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_as_kubectl_prints_them() {
        let table = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (601, "10m"),
            (10_799, "179m"),
            (10_860, "3h1m"),
            (30_000, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (700_000, "8d"),
            (63_158_400, "2y1d"),
            (300_000_000, "9y"),
        ];
        for (seconds, text) in table {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn include_object_values() {
        assert_eq!(IncludeObject::parse(None).unwrap(), IncludeObject::Metadata);
        let error = IncludeObject::parse(Some("x")).unwrap_err();
        assert_eq!(
            error.message(),
            "Unable to convert to Table as requested: includeObject: Invalid value: \"x\": must be 'Metadata', 'Object', 'None', or empty"
        );
    }
}
