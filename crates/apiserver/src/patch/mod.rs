//! JSON patch (RFC 6902) and merge patch (RFC 7396). Strategic merge and apply patches are not
//! served yet: 415.

mod json;
mod merge;

use bytes::Bytes;
use serde_json::Value;

use crate::status::ApiError;

/// The media type of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
}

/// An undecoded patch.
#[derive(Debug, Clone)]
pub struct Patch {
    pub kind: PatchKind,
    pub body: Bytes,
}

impl Patch {
    /// Decodes the body once, so that a lost race need not do it again.
    ///
    /// # Errors
    /// 400 when the body is not such a patch, 413 for too many operations.
    pub fn decode(&self) -> Result<DecodedPatch, ApiError> {
        Ok(DecodedPatch(match self.kind {
            PatchKind::Json => Decoded::Json(json::decode(&self.body)?),
            PatchKind::Merge => Decoded::Merge(merge::decode(&self.body)?),
        }))
    }
}

/// A patch ready to be applied.
#[derive(Debug, Clone)]
pub struct DecodedPatch(Decoded);

#[derive(Debug, Clone)]
enum Decoded {
    Json(json_patch::Patch),
    Merge(Value),
}

impl DecodedPatch {
    /// Changes `document`; after an error its content is unspecified.
    ///
    /// # Errors
    /// 422 when an operation does not fit the document, 413 when it copies too much.
    pub fn apply(&self, document: &mut Value) -> Result<(), ApiError> {
        match &self.0 {
            Decoded::Json(patch) => json::apply(patch, document),
            Decoded::Merge(patch) => {
                json_patch::merge(document, patch);
                Ok(())
            }
        }
    }
}
