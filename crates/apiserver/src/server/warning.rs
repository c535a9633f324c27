//! `Warning` headers.
//!
//! Limits: `k8s.io/apiserver/pkg/endpoints/filters/warning.go`; quoting: RFC 7234, section 5.5.

use http::HeaderMap;
use http::header::{HeaderValue, WARNING};

/// All texts together, in characters, before each is cut.
const TOTAL_CHARS_MAX: usize = 4096;
/// One text, in characters, when all together are too long.
const ITEM_CHARS_MAX: usize = 256;

pub(super) fn write(headers: &mut HeaderMap, texts: &[String]) {
    for text in fit(texts) {
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{}\"", quote(&text)).as_bytes())
        {
            headers.append(WARNING, value);
        }
    }
}

fn fit(texts: &[String]) -> Vec<String> {
    let total: usize = texts.iter().map(|text| text.chars().count()).sum();
    if total <= TOTAL_CHARS_MAX {
        return texts.to_vec();
    }
    let mut written = 0;
    let mut kept = Vec::new();
    for text in texts {
        if written >= TOTAL_CHARS_MAX {
            break;
        }
        let cut: String = text.chars().take(ITEM_CHARS_MAX).collect();
        written += cut.chars().count();
        kept.push(cut);
    }
    kept
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_cuts() {
        let mut headers = HeaderMap::new();
        write(&mut headers, &["unknown field \"spec.x\"\n".into()]);
        assert_eq!(headers[WARNING], "299 - \"unknown field \\\"spec.x\\\" \"");

        let many: Vec<String> = (0..20).map(|n| format!("{n:0>300}")).collect();
        let kept = fit(&many);
        assert_eq!(kept.len(), 16);
        assert!(kept.iter().all(|text| text.len() == 256));
        assert_eq!(fit(&many[..13]).len(), 13);
        assert_eq!(fit(&many[..13])[0].len(), 300);
    }
}
