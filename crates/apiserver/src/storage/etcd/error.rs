//! What etcd's errors mean to us.

use etcd_client::Error;

use super::super::KvError;

/// An etcd error, some of whose facts must still be asked for.
pub(super) enum EtcdFailure {
    Kv(KvError),
    Compacted,
    Future,
}

pub(super) fn classify(error: &Error) -> EtcdFailure {
    let Error::GRpcStatus(status) = error else {
        return EtcdFailure::Kv(KvError::Unavailable { detail: error.to_string() });
    };
    let text = status.message();
    if text.contains("required revision has been compacted") {
        EtcdFailure::Compacted
    } else if text.contains("required revision is a future revision") {
        EtcdFailure::Future
    } else {
        EtcdFailure::Kv(kv_error(error))
    }
}

/// Whether there was not even a connection to send on.
pub(super) fn never_sent(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        // The connector's own text (hyper-util); its type is private.
        if error.to_string().contains("tcp connect error") {
            return true;
        }
        source = error.source();
    }
    false
}

/// What a server says of a method that it does not know.
pub(super) fn is_unimplemented(error: &Error) -> bool {
    // By name, see below.
    matches!(error, Error::GRpcStatus(status) if format!("{:?}", status.code()) == "Unimplemented")
}

/// The errors that need no more facts.
pub(super) fn kv_error(error: &Error) -> KvError {
    let detail = error.to_string();
    let Error::GRpcStatus(status) = error else { return KvError::Unavailable { detail } };
    let text = status.message();
    if text.contains("request is too large") || text.contains("message larger than max") {
        return KvError::TooLarge { detail: text.to_owned() };
    }
    if text.contains("database space exceeded") {
        return KvError::NoSpace { detail: text.to_owned() };
    }
    // Matched by name, for the type is tonic's: codes 1, 2, 4 and 14, what a broken connection or
    // a leaderless cluster gives.
    match format!("{:?}", status.code()).as_str() {
        "Cancelled" | "Unknown" | "DeadlineExceeded" | "Unavailable" => {
            KvError::Unavailable { detail }
        }
        _ => KvError::Other { detail },
    }
}
