//! How a command ended, in the words of the Pod's side: a `metav1.Status`, which is the last thing it
//! says (`[kubelet] pkg/cri/streaming/remotecommand`).

use serde_json::Value;

/// More of it is not kept.
const BYTES_MAX: usize = 4096;

/// What of it has come.
#[derive(Debug, Default)]
pub(super) struct Status(Vec<u8>);

impl Status {
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let room = BYTES_MAX - self.0.len();
        self.0.extend(&bytes[..bytes.len().min(room)]);
    }

    /// `None` until it has been said, and for a command that did not end by itself.
    pub(super) fn exit_code(&self) -> Option<i64> {
        let status: Value = serde_json::from_slice(&self.0).ok()?;
        if status["status"] == "Success" {
            return Some(0);
        }
        let causes = status["details"]["causes"].as_array()?;
        let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode")?;
        cause["message"].as_str()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded() {
        let mut status = Status::default();
        for _ in 0..10 {
            status.extend(&[b'x'; 1000]);
        }
        assert_eq!((status.0.len(), status.exit_code()), (BYTES_MAX, None));
    }
}
