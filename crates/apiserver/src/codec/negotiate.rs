//! `Accept` and `Content-Type`, after `[apiserver] pkg/endpoints/handlers/negotiation`.

use crate::patch::PatchKind;
use crate::status::{ApiError, Reason};

/// A media type the server writes and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    Json,
    Yaml,
}

impl MediaType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// Another form of the object that a client asked for by `as=`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Transform {
    #[default]
    None,
    /// `meta.k8s.io` Table in the given version (`v1` or `v1beta1`).
    Table(&'static str),
    PartialObjectMetadata(&'static str),
    PartialObjectMetadataList(&'static str),
}

/// Which transforms an endpoint can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// None: actions, delete's Status, discovery.
    Plain,
    /// One object: Table, PartialObjectMetadata.
    Object,
    /// A list: Table, PartialObjectMetadataList.
    List,
    /// A watch: Table, PartialObjectMetadata; JSON only.
    Watch,
}

/// The outcome of negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub media: MediaType,
    pub transform: Transform,
    pub pretty: bool,
}

impl Accepted {
    /// Whether the stored text will do as it is.
    pub fn is_plain_json(&self) -> bool {
        let as_it_is =
            matches!(self.transform, Transform::None | Transform::PartialObjectMetadataList(_));
        self.media == MediaType::Json && !self.pretty && as_it_is
    }
}

impl Default for Accepted {
    fn default() -> Self {
        Self { media: MediaType::Json, transform: Transform::None, pretty: false }
    }
}

struct Clause<'a> {
    kind: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
    /// `*/*` after `application/*` after exact types.
    wildcards: u8,
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<Clause<'_>> = header
        .split(',')
        .filter_map(|text| {
            let mut parts = text.split(';').map(str::trim);
            let kind = parts.next().filter(|k| !k.is_empty())?;
            let mut quality = 1.0;
            let mut params = Vec::new();
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                if key == "q" {
                    quality = value.parse().unwrap_or(0.0);
                } else {
                    params.push((key, value.trim_matches('"')));
                }
            }
            let wildcards = u8::try_from(kind.matches('*').count()).unwrap_or(2);
            Some(Clause { kind, params, quality, wildcards })
        })
        .collect();
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.wildcards.cmp(&b.wildcards)));
    all
}

fn version(params: &[(&str, &str)]) -> Option<&'static str> {
    match params.iter().find(|(key, _)| *key == "v").map(|(_, value)| *value) {
        Some("v1") => Some("v1"),
        Some("v1beta1") => Some("v1beta1"),
        _ => None,
    }
}

fn transform(params: &[(&str, &str)], allow: Allow) -> Option<Transform> {
    let param = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, v)| *v);
    let Some(form) = param("as").filter(|form| !form.is_empty()) else {
        return Some(Transform::None);
    };
    if param("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = version(params)?;
    match (form, allow) {
        ("Table", Allow::Object | Allow::List | Allow::Watch) => Some(Transform::Table(version)),
        ("PartialObjectMetadata", Allow::Object | Allow::Watch) => {
            Some(Transform::PartialObjectMetadata(version))
        }
        ("PartialObjectMetadataList", Allow::List) => {
            Some(Transform::PartialObjectMetadataList(version))
        }
        _ => None,
    }
}

/// The first clause that names a served type and an allowed form wins; a clause with a form that
/// is not allowed falls through to the next.
///
/// # Errors
/// 406 when no clause fits.
pub fn negotiate(accept: Option<&str>, allow: Allow) -> Result<Accepted, ApiError> {
    let Some(accept) = accept.filter(|text| !text.trim().is_empty()) else {
        return Ok(Accepted::default());
    };
    for clause in clauses(accept) {
        let media = match clause.kind {
            "application/json" | "application/*" | "*/*" => MediaType::Json,
            "application/yaml" if allow != Allow::Watch => MediaType::Yaml,
            _ => continue,
        };
        let known = |(key, value): &(&str, &str)| match *key {
            // Unknown stream and schema versions reject the clause; other parameters are ignored.
            "stream" => allow == Allow::Watch && *value == "watch",
            "sv" => false,
            _ => true,
        };
        if !clause.params.iter().all(known) {
            continue;
        }
        if let Some(transform) = transform(&clause.params, allow) {
            let pretty = clause.params.iter().any(|(k, v)| *k == "pretty" && *v == "1");
            return Ok(Accepted { media, transform, pretty });
        }
    }
    let list = if allow == Allow::Watch {
        "application/json"
    } else {
        "application/json, application/yaml"
    };
    Err(ApiError::new(
        Reason::NotAcceptable,
        format!("only the following media types are accepted: {list}"),
    ))
}

/// Whether to indent: `?pretty=`, else well-known interactive clients.
pub fn wants_pretty(query: Option<&str>, user_agent: &str) -> bool {
    match query {
        Some(value) => !matches!(value, "0" | "false"),
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| user_agent.starts_with(name)),
    }
}

/// The media type of a write's body; absent = JSON.
///
/// # Errors
/// 415 for anything but JSON and YAML.
pub fn content_type(header: Option<&str>) -> Result<MediaType, ApiError> {
    let kind = header.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match kind {
        "" | "application/json" => Ok(MediaType::Json),
        "application/yaml" => Ok(MediaType::Yaml),
        _ => Err(ApiError::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
        )),
    }
}

/// The kind of a patch.
///
/// # Errors
/// 415 for patches that are not served: strategic merge and apply among them. The garbage
/// collector relies on 415 to fall back to a merge patch.
pub fn patch_type(header: Option<&str>) -> Result<PatchKind, ApiError> {
    match header.unwrap_or_default().split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        _ => Err(ApiError::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECTL: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    #[test]
    fn accept_table() {
        let json = |transform| Ok((MediaType::Json, transform));
        // header, allow, expected
        type Row = (Option<&'static str>, Allow, Result<(MediaType, Transform), u16>);
        let table: Vec<Row> = vec![
            (None, Allow::Object, json(Transform::None)),
            (Some("*/*"), Allow::Object, json(Transform::None)),
            (Some("application/yaml"), Allow::Object, Ok((MediaType::Yaml, Transform::None))),
            (Some("application/yaml"), Allow::Watch, Err(406)),
            (Some("text/html"), Allow::Object, Err(406)),
            (Some("text/html, */*;q=0.1"), Allow::Object, json(Transform::None)),
            (Some(KUBECTL), Allow::List, json(Transform::Table("v1"))),
            (Some(KUBECTL), Allow::Plain, json(Transform::None)),
            (
                Some(
                    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                ),
                Allow::List,
                json(Transform::PartialObjectMetadataList("v1")),
            ),
            (
                Some("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
                Allow::List,
                Err(406),
            ),
            (Some("application/json;as=Table;g=other;v=v1"), Allow::List, Err(406)),
            (Some("application/json;stream=watch"), Allow::Watch, json(Transform::None)),
            (Some("application/json;sv=1"), Allow::Object, Err(406)),
            (Some("application/cbor,application/json"), Allow::Object, json(Transform::None)),
        ];
        for (header, allow, expected) in table {
            let got =
                negotiate(header, allow).map(|a| (a.media, a.transform)).map_err(|e| e.code());
            assert_eq!(got, expected, "{header:?} {allow:?}");
        }
    }

    #[test]
    fn bodies_and_patches() {
        assert_eq!(content_type(None).unwrap(), MediaType::Json);
        assert_eq!(content_type(Some("application/json; charset=utf-8")).unwrap(), MediaType::Json);
        assert_eq!(content_type(Some("application/cbor")).unwrap_err().code(), 415);
        assert_eq!(patch_type(Some("application/merge-patch+json")).unwrap(), PatchKind::Merge);
        for refused in
            ["application/strategic-merge-patch+json", "application/apply-patch+yaml", ""]
        {
            assert_eq!(patch_type(Some(refused)).unwrap_err().code(), 415, "{refused}");
        }
    }

    #[test]
    fn pretty_for_people() {
        assert!(wants_pretty(None, "curl/8.0"));
        assert!(!wants_pretty(None, "kubectl/v1.37"));
        assert!(wants_pretty(Some("true"), "kubectl/v1.37"));
        assert!(!wants_pretty(Some("false"), "curl/8.0"));
    }
}
