//! The closed set of what a client can ask of a resource.

use super::{DeleteOptions, GetOptions, ListOptions, WatchOptions, WriteOptions};
use crate::meta::{Object, ObjectKey, Scope};
use crate::patch::Patch;

/// Everything a client can ask of a resource. HTTP ends here.
#[derive(Debug, Clone)]
pub enum Operation {
    Get {
        key: ObjectKey,
        subresource: Option<String>,
        options: GetOptions,
    },
    List {
        scope: Scope,
        options: ListOptions,
    },
    Watch {
        scope: Scope,
        options: WatchOptions,
    },
    Create {
        scope: Scope,
        object: Object,
        options: WriteOptions,
        /// Every parameter, for kinds that create in their own way.
        query: Vec<(String, String)>,
    },
    Update {
        key: ObjectKey,
        subresource: Option<String>,
        object: Object,
        options: WriteOptions,
    },
    Patch {
        key: ObjectKey,
        subresource: Option<String>,
        patch: Patch,
        options: WriteOptions,
    },
    Delete {
        key: ObjectKey,
        options: DeleteOptions,
    },
    DeleteCollection {
        scope: Scope,
        list: ListOptions,
        options: DeleteOptions,
    },
    /// A typed POST subresource such as `suspend`.
    Action {
        key: ObjectKey,
        name: String,
        body: Option<Object>,
        options: WriteOptions,
        query: Vec<(String, String)>,
    },
}
