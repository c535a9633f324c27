//! Go durations (`time.ParseDuration`), the form of every duration on Kubernetes' wire.

use std::time::Duration;

/// Seconds of `1h2m3.5s` and the like, negative ones too; a bare number only if it is zero.
/// `None` for anything else.
pub fn parse_seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    Some(sign * total)
}

/// As [`parse_seconds`], but `None` for negative and unrepresentable ones too.
pub fn parse(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(parse_seconds(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        for (text, millis) in [
            ("0", 0),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("+2m", 120_000),
            ("34s100ms", 34_100),
            ("1h1m1s", 3_661_000),
            ("2000us", 2),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "s", "5 s", "1x", "-", "..s", "5s5", "1e3s"] {
            assert_eq!(parse_seconds(bad), None, "{bad}");
        }
        assert_eq!(parse_seconds("-5s"), Some(-5.0));
        assert_eq!(parse("-5s"), None);
        assert_eq!(parse("9999999999999999999999h"), None);
    }
}
