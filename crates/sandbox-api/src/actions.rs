//! The actions of the kinds, as methods of their `kube::Api`.

use std::time::Duration;

use kube::{Api, Client, Error, Resource, Result};
use serde::de::DeserializeOwned;

use crate::{Sandbox, SandboxClaim, SandboxWarmPool};

/// Until when an action waits with its answer, and how long.
///
/// The default is to answer at once, with the object as the action leaves it. A wait that takes too
/// long is a [`kube::Error::Api`] with code 504; what was asked for goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitParams {
    until: Option<&'static str>,
    timeout: Option<Duration>,
}

impl WaitParams {
    /// Until the Sandbox has come to where the action sends it: not for `restart`.
    #[must_use]
    pub fn done() -> Self {
        Self { until: Some("true"), timeout: None }
    }

    /// Until the claim is bound: for claims that wait for stock.
    #[must_use]
    pub fn bound() -> Self {
        Self { until: Some("bound"), timeout: None }
    }

    /// Until the claim's Sandbox is ready.
    #[must_use]
    pub fn ready() -> Self {
        Self { until: Some("ready"), timeout: None }
    }

    /// At most 55 s; 30 s if it is not set. Whole milliseconds count.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    fn query(&self) -> String {
        let until = self.until.map(|until| format!("wait={until}"));
        let timeout = self.timeout.map(|limit| format!("timeout={}ms", limit.as_millis()));
        let all: Vec<String> = until.into_iter().chain(timeout).collect();
        all.join("&")
    }
}

/// Actions of a Sandbox. Each needs `create` on the subresource of its name.
#[expect(async_fn_in_trait, reason = "it is for Api alone, whose futures are Send")]
pub trait SandboxActions {
    /// Ends the Pod and keeps volumes, Service and identity.
    ///
    /// # Errors
    /// 403, 404, 409 if it is expired or finished, 504.
    async fn suspend(&self, name: &str, wait: &WaitParams) -> Result<Sandbox>;

    /// Starts it again.
    ///
    /// # Errors
    /// As [`Self::suspend`].
    async fn resume(&self, name: &str, wait: &WaitParams) -> Result<Sandbox>;

    /// Replaces the Pod.
    ///
    /// # Errors
    /// As [`Self::suspend`].
    async fn restart(&self, name: &str) -> Result<Sandbox>;
}

impl SandboxActions for Api<Sandbox> {
    async fn suspend(&self, name: &str, wait: &WaitParams) -> Result<Sandbox> {
        act(self, name, ("suspend", Vec::new(), wait)).await
    }

    async fn resume(&self, name: &str, wait: &WaitParams) -> Result<Sandbox> {
        act(self, name, ("resume", Vec::new(), wait)).await
    }

    async fn restart(&self, name: &str) -> Result<Sandbox> {
        let wait = WaitParams::default();
        act(self, name, ("restart", Vec::new(), &wait)).await
    }
}

/// The action of a pool.
#[expect(async_fn_in_trait, reason = "it is for Api alone, whose futures are Send")]
pub trait PoolActions {
    /// Takes a Sandbox from the pool, in one request: the answer is the claim with what it is bound
    /// to. Needs `create` on `sandboxwarmpools/claim` and nothing else.
    ///
    /// Of `claim` everything may be empty: it gets a name, and the pool is the one named here. With
    /// `spec.idempotencyKey` a request whose answer was lost can be repeated: it gets the claim of
    /// the first.
    ///
    /// # Errors
    /// 403, 404, 409 for a name or key that is taken, 422, 429 when too many wait, 503 with the
    /// reason `PoolExhausted` where `onEmptyPool` is `Fail`, 504.
    async fn claim(
        &self,
        pool: &str,
        claim: &SandboxClaim,
        wait: &WaitParams,
    ) -> Result<SandboxClaim>;
}

impl PoolActions for Api<SandboxWarmPool> {
    async fn claim(
        &self,
        pool: &str,
        claim: &SandboxClaim,
        wait: &WaitParams,
    ) -> Result<SandboxClaim> {
        let body = serde_json::to_vec(claim).map_err(Error::SerdeError)?;
        act(self, pool, ("claim", body, wait)).await
    }
}

async fn act<K: Clone + Resource, T: DeserializeOwned>(
    api: &Api<K>,
    name: &str,
    (action, body, wait): (&str, Vec<u8>, &WaitParams),
) -> Result<T> {
    let client: Client = api.clone().into_client();
    let path = path(api.resource_url(), name, action, &wait.query());
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| Error::BuildRequest(kube::core::request::Error::BuildRequest(error)))?;
    client.request(request).await
}

fn path(collection: &str, name: &str, action: &str, query: &str) -> String {
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{collection}/{name}/{action}{mark}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_the_query() {
        let limit = Duration::from_millis(1500);
        for (wait, expected) in [
            (WaitParams::default(), ""),
            (WaitParams::done(), "wait=true"),
            (WaitParams::bound(), "wait=bound"),
            (WaitParams::ready().timeout(limit), "wait=ready&timeout=1500ms"),
            (WaitParams::default().timeout(limit), "timeout=1500ms"),
        ] {
            assert_eq!(wait.query(), expected);
        }
        let base = "/apis/g/v/namespaces/ns/sandboxes";
        assert_eq!(path(base, "a", "suspend", ""), format!("{base}/a/suspend"));
        assert_eq!(path(base, "a", "resume", "wait=true"), format!("{base}/a/resume?wait=true"));
    }
}
