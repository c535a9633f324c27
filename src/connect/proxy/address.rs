//! `[scheme:]name[:port]` and what of the path goes on. Pure.
//!
//! Form: `[apimachinery] pkg/util/net/port_split.go` SplitSchemeNamePort.

use apiserver::status::ApiError;

use crate::cluster::streams::PodFacts;

/// Where the user asks for none and the Pod declares none.
const DEFAULT_PORT: u16 = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// What a path names where others have the name of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) scheme: Scheme,
    pub(super) name: &'a str,
    /// A number, a name of a port, or nothing.
    pub(super) port: &'a str,
}

impl<'a> Address<'a> {
    /// # Errors
    /// 400 for anything else.
    pub(super) fn parse(text: &'a str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => ("?", "", ""),
        };
        let scheme = match scheme {
            "" | "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => None,
        };
        match scheme.filter(|_| !name.is_empty()) {
            Some(scheme) => Ok(Self { scheme, name, port }),
            None => Err(ApiError::bad_request(format!("invalid sandbox request {text:?}"))),
        }
    }

    /// The number of the port: as asked for, or the first that the Pod declares.
    ///
    /// # Errors
    /// 400 for a number that is none of a port, and for a name that the Pod does not declare.
    pub(super) fn port(&self, pod: &PodFacts) -> Result<u16, ApiError> {
        if self.port.is_empty() {
            return Ok(pod.ports.first().map_or(DEFAULT_PORT, |port| port.number));
        }
        let number = if self.port.bytes().all(|byte| byte.is_ascii_digit()) {
            self.port.parse().ok().filter(|number| *number > 0)
        } else {
            pod.ports.iter().find(|port| port.name == self.port).map(|port| port.number)
        };
        number.ok_or_else(|| {
            ApiError::bad_request(format!("the sandbox has no port {:?}", self.port))
        })
    }
}

/// The segments before the path of a proxied request: `apis`, group, version, `namespaces`,
/// namespace, resource, name, `proxy`. Empty ones count for nothing, as in
/// [`apiserver::request::RequestInfo`].
const OURS: usize = 8;

/// Splits a request's path, still encoded, into what is ours and what goes to the Pod: from the
/// slash on, which is added if there is none.
pub(super) fn split(path: &str) -> (&str, &str) {
    let mut seen = 0;
    let mut within = false;
    for (at, byte) in path.bytes().enumerate() {
        if byte != b'/' {
            seen += usize::from(!within);
            within = true;
            continue;
        }
        within = false;
        if seen == OURS {
            return path.split_at(at);
        }
    }
    (path, "/")
}
