//! Discovery, legacy and aggregated, derived from the resource table
//! (`[apiserver] pkg/endpoints/discovery`). Built once; answering needs no store, so that the
//! aggregator's availability check passes while the store is away.

mod documents;

use bytes::Bytes;
use http::{HeaderMap, header};

use crate::resource::ResourceDef;

/// A ready answer of discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryResponse {
    pub status: u16,
    pub headers: Vec<(header::HeaderName, String)>,
    pub body: Bytes,
}

/// Discovery documents of all served group-versions.
#[derive(Debug, Clone)]
pub struct Discovery {
    groups: Bytes,
    aggregated: Bytes,
    etag: String,
    /// Path to document: `/apis/G` and `/apis/G/V`.
    documents: Vec<(String, Bytes)>,
    group_versions: Vec<(String, String)>,
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

impl Discovery {
    pub fn build(defs: &[&ResourceDef]) -> Self {
        let groups = documents::group_versions(defs);
        let aggregated = documents::bytes(&documents::aggregated(&groups, defs));
        let mut all = Vec::new();
        for (group, versions) in &groups {
            all.push((
                format!("/apis/{group}"),
                documents::bytes(&documents::group(group, versions, true)),
            ));
            for version in versions {
                all.push((
                    format!("/apis/{group}/{version}"),
                    documents::bytes(&documents::resources(group, version, defs)),
                ));
            }
        }
        Self {
            groups: documents::bytes(&documents::groups(&groups)),
            etag: documents::etag(&aggregated),
            aggregated,
            documents: all,
            group_versions: groups
                .into_iter()
                .flat_map(|(group, versions)| versions.into_iter().map(move |v| (group.clone(), v)))
                .collect(),
        }
    }

    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.group_versions.iter().any(|(g, v)| g == group && v == version)
    }

    /// The answer for a GET of `path`; `None` if it is no discovery path of ours. A trailing slash
    /// is accepted.
    pub fn respond(&self, path: &str, headers: &HeaderMap) -> Option<DiscoveryResponse> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path == "/apis" {
            return Some(self.apis(headers));
        }
        let (_, body) = self.documents.iter().find(|(known, _)| known == path)?;
        Some(plain(body.clone()))
    }

    fn apis(&self, headers: &HeaderMap) -> DiscoveryResponse {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !wants_aggregated(accept) {
            let mut response = plain(self.groups.clone());
            response.headers.push((header::VARY, "Accept".into()));
            return response;
        }
        let quoted = format!("\"{}\"", self.etag);
        let fresh = headers
            .get(header::IF_NONE_MATCH)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|seen| seen == quoted);
        let (status, body) =
            if fresh { (304, Bytes::new()) } else { (200, self.aggregated.clone()) };
        DiscoveryResponse {
            status,
            headers: vec![
                (header::CONTENT_TYPE, AGGREGATED.into()),
                (header::ETAG, quoted),
                (header::VARY, "Accept".into()),
                (header::CACHE_CONTROL, "public".into()),
            ],
            body,
        }
    }
}

fn plain(body: Bytes) -> DiscoveryResponse {
    DiscoveryResponse {
        status: 200,
        headers: vec![(header::CONTENT_TYPE, "application/json".into())],
        body,
    }
}

/// The first clause that names JSON decides; other parameters (`profile=nopeer`) are tolerated.
fn wants_aggregated(accept: &str) -> bool {
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json" | "application/*" | "*/*")) {
            continue;
        }
        let params: Vec<&str> = parts.collect();
        let has = |param: &str| params.contains(&param);
        if has("as=APIGroupDiscoveryList") {
            if has("g=apidiscovery.k8s.io") && has("v=v2") {
                return true;
            }
            continue;
        }
        return false;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_v2_is_aggregated() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, expected) in [
            (v2.to_owned(), true),
            (format!("{v2},application/json"), true),
            (format!("{v2beta1},{v2},application/json"), true),
            (format!("{v2};profile=nopeer,{v2}"), true),
            (format!("{v2beta1},application/json"), false),
            ("application/json".into(), false),
            ("*/*".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(wants_aggregated(&accept), expected, "{accept}");
        }
    }
}
