//! Follows the Sandboxes of a namespace with kube-rs, and checks that it is told everything.
//!
//! ```sh
//! KUBECONFIG=K cargo run -p sandbox-api --example follow -- NAMESPACE streaming-lists|list-watch
//! ```
//!
//! It makes, changes and deletes some suspended Sandboxes in the namespace, which must be empty of
//! others, while a `watcher` feeds a `reflector`. It fails when an event is missing, out of order or
//! too many, when the store is not what a list is, or when the watcher asked in another way than told.

#![expect(clippy::print_stdout, reason = "an example talks to its user on stdout")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{Stream, StreamExt as _};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Api, Client, Config, ResourceExt as _};
use sandbox_api::{OperatingMode, PodTemplate, Sandbox, SandboxSpec};
use serde_json::json;
use tokio::time::timeout;
use tower::util::MapRequestLayer;

/// A step that takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than a page, so that a list has to be continued.
const BEFORE: usize = 7;
const PAGE: u32 = 3;

/// The paths and queries of all requests.
type Requests = Arc<Mutex<Vec<String>>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(namespace), Some(mode)) = (args.next(), args.next()) else {
        bail!("usage: follow NAMESPACE streaming-lists|list-watch");
    };
    let config = match mode.as_str() {
        "streaming-lists" => watcher::Config::default().streaming_lists(),
        "list-watch" => watcher::Config::default().page_size(PAGE),
        other => bail!("no mode {other:?}"),
    };
    let requests = Requests::default();
    let following = Api::namespaced(recording(&requests).await?, &namespace);
    let acting = Api::namespaced(Client::try_default().await?, &namespace);
    follow(following, acting, config).await?;
    let requests = requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
    check_requests(&mode, &requests)?;
    println!("{mode}: every event came, {} requests", requests.len());
    Ok(())
}

/// A client that notes what it asks.
async fn recording(requests: &Requests) -> Result<Client> {
    let requests = requests.clone();
    let note = move |request: http::Request<kube::client::Body>| {
        let asked = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        requests.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        request
    };
    let config = Config::infer().await?;
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapRequestLayer::new(note)).build())
}

async fn follow(
    following: Api<Sandbox>,
    acting: Api<Sandbox>,
    config: watcher::Config,
) -> Result<()> {
    for i in 0..BEFORE {
        acting.create(&PostParams::default(), &suspended(&format!("before-{i}"))).await?;
    }
    let (store, writer) = reflector::store();
    let mut events = std::pin::pin!(
        reflector(writer, kube::runtime::watcher(following, config)).default_backoff()
    );
    let initial = initial(&mut events).await?;
    let expected: Vec<String> = (0..BEFORE).map(|i| format!("before-{i}")).collect();
    ensure!(initial == expected, "the initial objects are {initial:?}");

    acting.create(&PostParams::default(), &suspended("later")).await?;
    until(&mut events, "the new one", |event| applied(event, "later").is_some()).await?;
    let patch = json!({ "metadata": { "labels": { "colour": "red" } } });
    let patched = acting.patch("later", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    let wanted = patched.resource_version();
    until(&mut events, "its change", |event| {
        applied(event, "later").is_some_and(|sandbox| {
            sandbox.resource_version() == wanted && sandbox.labels().contains_key("colour")
        })
    })
    .await?;
    acting.delete("before-0", &DeleteParams::default()).await?;
    until(
        &mut events,
        "the deletion",
        |event| matches!(event, Event::Delete(sandbox) if sandbox.name_any() == "before-0"),
    )
    .await?;

    // The server's loop writes status on its own, so follow until there is nothing more to tell.
    timeout(PATIENCE, async {
        loop {
            let listed = revisions(acting.list(&ListParams::default()).await?.items.iter());
            if revisions(store.state().iter().map(AsRef::as_ref)) == listed {
                return Ok::<_, anyhow::Error>(());
            }
            next(&mut events).await?;
        }
    })
    .await
    .context("the store never became what a list is")?
}

/// The names up to the end of the initial list, which no other event may interrupt.
async fn initial(
    events: &mut (impl Stream<Item = watcher::Result<Event<Sandbox>>> + Unpin),
) -> Result<Vec<String>> {
    ensure!(matches!(next(events).await?, Event::Init), "the first event is not the list's start");
    let mut names = Vec::new();
    loop {
        match next(events).await? {
            Event::InitApply(sandbox) => names.push(sandbox.name_any()),
            Event::InitDone => return Ok(names),
            other => bail!("{other:?} in the middle of the initial list"),
        }
    }
}

async fn until(
    events: &mut (impl Stream<Item = watcher::Result<Event<Sandbox>>> + Unpin),
    what: &str,
    mut wanted: impl FnMut(&Event<Sandbox>) -> bool,
) -> Result<()> {
    timeout(PATIENCE, async {
        while !wanted(&next(events).await?) {}
        Ok(())
    })
    .await
    .with_context(|| format!("no event tells of {what}"))?
}

async fn next(
    events: &mut (impl Stream<Item = watcher::Result<Event<Sandbox>>> + Unpin),
) -> Result<Event<Sandbox>> {
    let event = timeout(PATIENCE, events.next()).await.context("no event")?;
    event.context("the watcher ended")?.context("the watcher failed")
}

fn applied<'a>(event: &'a Event<Sandbox>, name: &str) -> Option<&'a Sandbox> {
    match event {
        Event::Apply(sandbox) if sandbox.name_any() == name => Some(sandbox),
        _ => None,
    }
}

fn revisions<'a>(sandboxes: impl Iterator<Item = &'a Sandbox>) -> BTreeMap<String, Option<String>> {
    sandboxes.map(|sandbox| (sandbox.name_any(), sandbox.resource_version())).collect()
}

fn suspended(name: &str) -> Sandbox {
    let container =
        json!({ "containers": [{ "name": "main", "image": "docker.io/local/none:1" }] });
    let pod = serde_json::from_value(container).unwrap_or_default();
    let spec = SandboxSpec {
        pod_template: PodTemplate { metadata: None, spec: pod },
        operating_mode: Some(OperatingMode::Suspended),
        ..SandboxSpec::default()
    };
    Sandbox::new(name, spec)
}

/// That the watcher asked as it was told to, and did not start over.
fn check_requests(mode: &str, requests: &[String]) -> Result<()> {
    let (watches, lists): (Vec<&String>, Vec<&String>) =
        requests.iter().partition(|request| request.contains("watch=true"));
    let streamed = watches.iter().filter(|watch| watch.contains("sendInitialEvents=true")).count();
    let pages = BEFORE.div_ceil(PAGE as usize);
    let (want_lists, want_streamed) = match mode {
        "streaming-lists" => (0, 1),
        _ => (pages, 0),
    };
    ensure!(
        lists.len() == want_lists && streamed == want_streamed && !watches.is_empty(),
        "{mode} asked {requests:#?}"
    );
    Ok(())
}
