//! The `continue` token of a paged list, in Kubernetes' form
//! (`[apiserver] pkg/storage/continue.go`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Revision;
use crate::status::ApiError;

const VERSION: &str = "meta.k8s.io/v1";

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinueToken {
    /// Key relative to the collection's prefix, for example `ns/name\0`.
    pub start: String,
    /// The first page's revision; -1 = whatever is current (an inconsistent continuation).
    pub revision: Revision,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: Revision,
    #[serde(default)]
    start: String,
}

impl ContinueToken {
    pub fn encode(&self) -> String {
        let wire = Wire { v: VERSION.into(), rv: self.revision, start: self.start.clone() };
        let json = serde_json::to_vec(&wire).expect("strings and numbers serialize");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// # Errors
    /// 400 for anything that this server can't have made, above all a start outside the collection.
    pub fn decode(token: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|error| invalid(&format!("continue key is not valid: {error}")))?;
        let wire: Wire = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(&format!("continue key is not valid: {error}")))?;
        if wire.v != VERSION {
            return Err(invalid(&format!(
                "continue key is not valid: server does not recognize this encoded version {:?}",
                wire.v
            )));
        }
        if wire.rv == 0 {
            return Err(invalid(&format!(
                "continue key is not valid: incorrect encoded start resourceVersion (version {VERSION})"
            )));
        }
        if wire.start.is_empty() {
            return Err(invalid(&format!(
                "continue key is not valid: encoded start key empty (version {VERSION})"
            )));
        }
        let start = wire.start.strip_prefix('/').unwrap_or(&wire.start);
        // Dot segments and empty segments could leave the collection once a path is cleaned.
        if start.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(&format!("continue key is not valid: {}", wire.start)));
        }
        Ok(Self { start: start.to_owned(), revision: wire.rv.max(-1) })
    }
}

fn invalid(detail: &str) -> ApiError {
    ApiError::bad_request(format!("invalid continue token: {detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_kubernetes_form() {
        let token = ContinueToken { start: "ns/a\0".into(), revision: 7 };
        let json = URL_SAFE_NO_PAD.decode(token.encode()).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"v":"meta.k8s.io/v1","rv":7,"start":"ns/a\u0000"}"#
        );
        assert_eq!(ContinueToken::decode(&token.encode()).unwrap(), token);
    }

    #[test]
    fn refuses_what_it_did_not_make() {
        for json in [
            r#"{"v":"v2","rv":1,"start":"a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#,
            r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../other/a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":1,"start":"ns/../a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":1,"start":"//a"}"#,
            "{",
        ] {
            let error = ContinueToken::decode(&URL_SAFE_NO_PAD.encode(json)).unwrap_err();
            assert_eq!(error.code(), 400, "{json}");
            assert!(error.message().starts_with("invalid continue token: "), "{error}");
        }
        assert_eq!(ContinueToken::decode("%").unwrap_err().code(), 400);
    }
}
