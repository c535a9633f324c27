//! How long a request may take.
//!
//! Rules: `k8s.io/apiserver/pkg/endpoints/filters/request_deadline.go`; the syntax is that of Go's
//! `time.ParseDuration`.

use std::time::Duration;

use crate::request::duration::parse_seconds;
use crate::status::ApiError;

/// The client's `timeout` parameter if it is positive and below `longest`, else `longest`.
pub(super) fn of(query: Option<&str>, longest: Duration) -> Result<Duration, ApiError> {
    let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, _)| key == "timeout")
        .map(|(_, value)| value.into_owned())
        .filter(|value| !value.is_empty());
    let Some(asked) = asked else { return Ok(longest) };
    let seconds = parse_seconds(&asked).ok_or_else(|| {
        ApiError::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {asked:?}"
        ))
    })?;
    if seconds > 0.0 && seconds < longest.as_secs_f64() {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Ok(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_shorten_only() {
        let longest = Duration::from_secs(60);
        for (query, millis) in [
            ("", 60_000),
            ("timeout=", 60_000),
            ("timeout=5s", 5_000),
            ("a=b&timeout=1.5s", 1_500),
            ("timeout=1m", 60_000),
            ("timeout=0s", 60_000),
            ("timeout=0", 60_000),
            ("timeout=-5s", 60_000),
            ("timeout=34s100ms", 34_100),
            ("timeout=2h", 60_000),
        ] {
            assert_eq!(of(Some(query), longest).unwrap(), Duration::from_millis(millis), "{query}");
        }
        for bad in ["5", "s", "5 s", "1x", "-", "..s", "5s5"] {
            let error = of(Some(&format!("timeout={bad}")), longest).unwrap_err();
            assert_eq!(error.code(), 400, "{bad}");
        }
        let error = of(Some("timeout=abc"), longest).unwrap_err();
        let text = r#"invalid timeout specified in the request URL - time: invalid duration "abc""#;
        assert_eq!(error.message(), text);
    }
}
