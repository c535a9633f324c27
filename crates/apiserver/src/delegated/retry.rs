//! Bounded retries for calls to the host cluster.
//!
//! Rules: `k8s.io/apiserver/pkg/util/webhook/webhook.go`: 500 ms, factor 1.5, jitter 0.2, 5 steps,
//! on connection errors, 429 and 5xx.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock;
use crate::status::ApiError;

/// Limits of reviews.
#[derive(Debug, Clone)]
pub struct ReviewConfig {
    /// The whole of one review, its retries included.
    pub timeout: Duration,
    /// Wait before the first retry; grows by half each time.
    pub backoff: Duration,
    /// Calls per review.
    pub attempts_max: u32,
    /// Reviews under way at once; more of them queue within their timeout.
    pub concurrent_max: usize,
}

impl Default for ReviewConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(500),
            attempts_max: 5,
            concurrent_max: 200,
        }
    }
}

pub(super) struct Retry {
    config: ReviewConfig,
    slots: Semaphore,
}

impl Retry {
    pub(super) fn new(config: ReviewConfig) -> Self {
        let slots = Semaphore::new(config.concurrent_max);
        Self { config, slots }
    }

    /// Calls until it succeeds, fails for good, or the limits are used up.
    pub(super) async fn run<F, Fut, T>(&self, what: &str, call: F) -> Result<T, ApiError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, kube::Error>>,
    {
        match tokio::time::timeout(self.config.timeout, self.attempts(call)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                Err(ApiError::service_unavailable(format!("{what} failed"))
                    .with_log(error.to_string()))
            }
            Err(_) => Err(ApiError::service_unavailable(format!("{what} timed out"))),
        }
    }

    async fn attempts<F, Fut, T>(&self, call: F) -> Result<T, kube::Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, kube::Error>>,
    {
        let _slot = self.slots.acquire().await;
        let mut wait = self.config.backoff;
        for _ in 1..self.config.attempts_max {
            match call().await {
                Err(error) if is_temporary(&error) => {}
                outcome => return outcome,
            }
            tokio::time::sleep(wait.mul_f64(1.0 + 0.2 * clock::random_fraction())).await;
            wait = wait.mul_f64(1.5);
        }
        call().await
    }
}

fn is_temporary(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use kube::core::Status;

    use super::*;

    fn failure(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("no", "Because").with_code(code).boxed())
    }

    fn quick() -> ReviewConfig {
        ReviewConfig {
            timeout: Duration::from_millis(200),
            backoff: Duration::from_millis(1),
            ..ReviewConfig::default()
        }
    }

    async fn count(codes: &[u16]) -> (u32, Result<(), ApiError>) {
        let retry = Retry::new(quick());
        let calls = AtomicU32::new(0);
        let outcome = retry
            .run("the review", || {
                let call = calls.fetch_add(1, Ordering::SeqCst) as usize;
                let code = codes.get(call).copied();
                async move { code.map_or(Ok(()), |code| Err(failure(code))) }
            })
            .await;
        (calls.into_inner(), outcome)
    }

    #[tokio::test]
    async fn retries_only_what_may_pass() {
        let (calls, outcome) = count(&[500, 429]).await;
        assert_eq!((calls, outcome.is_ok()), (3, true));
        let (calls, outcome) = count(&[403]).await;
        assert_eq!((calls, outcome.unwrap_err().code()), (1, 503));
        let (calls, outcome) = count(&[503; 9]).await;
        assert_eq!((calls, outcome.unwrap_err().message()), (5, "the review failed"));
    }

    #[tokio::test]
    async fn gives_up_in_time() {
        let retry = Retry::new(quick());
        let outcome: Result<(), _> = retry.run("the review", std::future::pending).await;
        assert_eq!(outcome.unwrap_err().message(), "the review timed out");
    }
}
