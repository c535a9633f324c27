//! `?wait=bound|ready` and `?timeout=`.

use std::time::Duration;

use apiserver::status::ApiError;

use crate::wait::{last, timeout};

/// Longest time that the answer is given before the deadline, which the front and our own chain
/// take from the same parameter: the typed answer must come before theirs.
const MARGIN: Duration = Duration::from_millis(500);

/// What is waited for before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The claim has its Sandboxes.
    Bound,
    /// They are ready.
    Ready,
}

impl Until {
    /// In the texts of errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Ready => "ready",
        }
    }
}

/// How an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub until: Until,
    /// As it was asked for.
    pub limit: Duration,
}

impl Wait {
    /// `None` = answer right after the claim is stored.
    ///
    /// # Errors
    /// 400 for another value than `bound`, `ready` or `false`, and a duration over 55 s.
    pub fn parse(query: &[(String, String)]) -> Result<Option<Self>, ApiError> {
        let limit = timeout(query)?;
        let until = match last(query, "wait") {
            None | Some("false" | "0") => return Ok(None),
            Some("bound") => Until::Bound,
            Some("ready" | "true" | "1" | "") => Until::Ready,
            Some(other) => {
                let text = format!("invalid wait {other:?}: must be bound, ready or false");
                return Err(ApiError::bad_request(text));
            }
        };
        Ok(Some(Self { until, limit }))
    }

    /// How long to wait at most, from the request's beginning.
    pub fn patience(&self) -> Duration {
        self.limit.saturating_sub((self.limit / 4).min(MARGIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let parse = |text: &str| {
            let pairs: Vec<(String, String)> = text
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            Wait::parse(&pairs).map_err(|error| error.to_string())
        };
        let wait = |until, seconds| Ok(Some(Wait { until, limit: Duration::from_secs(seconds) }));
        for (query, expected) in [
            ("", Ok(None)),
            ("wait=false", Ok(None)),
            ("timeout=5s", Ok(None)),
            ("wait=bound", wait(Until::Bound, 30)),
            ("wait=ready", wait(Until::Ready, 30)),
            ("wait=true&timeout=55s", wait(Until::Ready, 55)),
            ("wait=bound&timeout=1s&timeout=2s", wait(Until::Bound, 2)),
            ("wait=soon", Err("invalid wait \"soon\": must be bound, ready or false".into())),
            (
                "timeout=56s",
                Err("invalid timeout \"56s\": must be a duration of at most 55s, for example 30s"
                    .into()),
            ),
            (
                "timeout=x",
                Err("invalid timeout \"x\": must be a duration of at most 55s, for example 30s"
                    .into()),
            ),
        ] {
            assert_eq!(parse(query), expected, "{query}");
        }
    }

    #[test]
    fn the_answer_comes_before_the_deadline() {
        let patience = |seconds| Wait { until: Until::Bound, limit: seconds }.patience();
        assert_eq!(patience(Duration::from_secs(30)), Duration::from_millis(29_500));
        assert_eq!(patience(Duration::from_secs(1)), Duration::from_millis(750));
    }
}
