//! How full etcd's database is.

use tokio::time::{sleep, timeout};

use super::super::{KvError, Usage};
use super::error::kv_error;
use super::{ATTEMPT_PAUSE, ATTEMPTS_MAX, EtcdKv};

impl EtcdKv {
    /// Of the member that answers.
    pub(super) async fn database_usage(&self) -> Result<Usage, KvError> {
        let mut client = self.client.maintenance_client();
        let ask = async {
            let mut attempts = 0;
            loop {
                attempts += 1;
                match client.status().await.map_err(|error| kv_error(&error)) {
                    // One of several members may be down.
                    Err(KvError::Unavailable { .. }) if attempts < ATTEMPTS_MAX => {
                        sleep(ATTEMPT_PAUSE).await;
                    }
                    done => return done,
                }
            }
        };
        let status = timeout(self.deadline, ask).await.map_err(|_| self.late())??;
        let bytes = |count: i64| u64::try_from(count).unwrap_or_default();
        Ok(Usage {
            bytes: bytes(status.db_size()),
            // Before etcd 3.6 it is not told.
            quota_bytes: Some(bytes(status.db_size_quota())).filter(|quota| *quota > 0),
            // Alarms are told as text here; the call for them needs more rights.
            is_full: status.errors().iter().any(|error| error.contains("NOSPACE")),
        })
    }
}
