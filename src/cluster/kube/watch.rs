//! Watches of the cluster.

use std::fmt;
use std::future::ready;

use futures::{Stream, StreamExt as _};
use kube::Resource;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tracing::{info, warn};

/// A watch that goes on after failures, with a growing pause; each is logged. What there is at first
/// comes as events, too: one small answer after the other, none of which keeps a thread for long.
/// A server without the feature (`WatchList`, on since 1.34) is asked for a list.
pub(super) fn watched<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let kind = K::kind(&()).into_owned();
    // In one answer from the API server's cache, as informers of client-go ask for it: with a page
    // size it would be pages read as of now. What such a list misses the watch behind it brings.
    let listing = watcher::Config { page_size: None, ..config.clone().any_semantic() };
    watcher(api.clone(), config.streaming_lists())
        .default_backoff()
        .take_while(|event| ready(!refuses_to_stream(event)))
        .chain(watcher(api, listing).default_backoff())
        .filter_map(move |event| {
            if matches!(event, Ok(Event::InitDone)) {
                info!(%kind, "a kind of the cluster's objects has been listed");
            }
            ready(
                event
                    .map_err(|error| warn!(%kind, %error, "watch failed; it will be retried"))
                    .ok(),
            )
        })
}

/// `ValidateListOptions` of apimachinery's internalversion: 422 where the feature is off.
fn refuses_to_stream<K>(event: &Result<Event<K>, watcher::Error>) -> bool {
    matches!(event, Err(watcher::Error::WatchStartFailed(kube::Error::Api(status)))
        if status.code == 422 && status.message.contains("sendInitialEvents"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Pod;
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// A Pod's name for each event of an initial list, and the requests, of a fake server that answers
    /// a watch's start with this.
    async fn started(watch: (u16, String)) -> (Vec<String>, Vec<String>) {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let (code, body) = if query.contains("watch=true") {
                watch.clone()
            } else {
                let items = json!([{ "metadata": { "name": "listed" } }]);
                (200, json!({ "metadata": { "resourceVersion": "7" }, "items": items }).to_string())
            };
            seen.lock().unwrap().push(query);
            let answer = Response::builder().status(code).body(Body::from(body.into_bytes()));
            ready(answer)
        });
        let api = Api::<Pod>::all(Client::new(service, "default"));
        let mut events = std::pin::pin!(watched(api, watcher::Config::default().labels("a")));
        let mut names = Vec::new();
        loop {
            match events.next().await.unwrap() {
                Event::Init => names.clear(),
                Event::InitApply(pod) => names.extend(pod.metadata.name),
                Event::InitDone => break,
                event => panic!("{event:?}"),
            }
        }
        let requests = requests.lock().unwrap().clone();
        (names, requests)
    }

    #[tokio::test]
    async fn what_there_is_comes_as_events() {
        let meta = |meta| json!({ "kind": "Pod", "apiVersion": "v1", "metadata": meta });
        let pod = meta(json!({ "name": "streamed", "resourceVersion": "5" }));
        let end = meta(json!({
            "resourceVersion": "7", "annotations": { "k8s.io/initial-events-end": "true" },
        }));
        let pod = json!({ "type": "ADDED", "object": pod });
        let end = json!({ "type": "BOOKMARK", "object": end });
        let (names, requests) = started((200, format!("{pod}\n{end}\n"))).await;
        assert_eq!(names, ["streamed"]);
        assert_eq!(requests.len(), 1);
        assert!(requests[0].contains("sendInitialEvents=true"), "{requests:?}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_stream_is_asked_for_a_list_from_its_cache() {
        let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: \
                       sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
                             "reason": "Invalid", "code": 422 });
        let (names, requests) = started((422, status.to_string())).await;
        assert_eq!(names, ["listed"]);
        assert_eq!(requests.len(), 2);
        let list = &requests[1];
        assert!(list.contains("resourceVersion=0") && !list.contains("limit="), "{list}");
    }
}
