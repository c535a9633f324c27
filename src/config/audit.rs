//! Flags of the audit log: names and meaning are kube-apiserver's
//! (`[apiserver] pkg/server/options/audit.go`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use apiserver::audit::{LogMode, LogOptions, Rotation};
use clap::{Args, ValueEnum};

/// As `--audit-log-maxsize 0` is understood there.
const MEGABYTES_DEFAULT: u64 = 100;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// When an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    Batch,
    Blocking,
    BlockingStrict,
}

#[derive(Debug, Args)]
pub struct AuditFlags {
    /// File that every request is recorded in, a line of JSON each; `-` is the standard output.
    /// Nothing is recorded when absent.
    #[arg(long)]
    pub audit_log_path: Option<PathBuf>,

    /// File with the audit policy (audit.k8s.io/v1); everything at level Metadata when absent.
    #[arg(long)]
    pub audit_policy_file: Option<PathBuf>,

    /// `batch` writes soon after, and loses events when more than 10000 wait; `blocking` writes
    /// before a request goes on; with `blocking-strict` requests are refused that can't be recorded.
    #[arg(long, value_enum, default_value = "blocking")]
    pub audit_log_mode: Mode,

    /// Size in megabytes at which the file begins anew; 0 is 100.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxsize: u64,

    /// Old files that are kept; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: usize,

    /// Days for which old files are kept; 0 keeps them whatever their age.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxage: u32,
}

/// What is recorded, and where.
#[derive(Debug, Clone)]
pub struct Audit {
    /// `None` = everything at level Metadata.
    pub policy_file: Option<PathBuf>,
    pub log: LogOptions,
}

impl AuditFlags {
    pub(super) fn checked(self) -> anyhow::Result<Option<Audit>> {
        let Some(path) = self.audit_log_path else {
            if self.audit_policy_file.is_some() {
                bail!("--audit-policy-file needs --audit-log-path");
            }
            return Ok(None);
        };
        if path.as_os_str().is_empty() {
            bail!("--audit-log-path may not be empty");
        }
        let mode = match self.audit_log_mode {
            Mode::Batch => LogMode::Batch,
            Mode::Blocking => LogMode::Blocking,
            Mode::BlockingStrict => LogMode::BlockingStrict,
        };
        let megabytes =
            if self.audit_log_maxsize == 0 { MEGABYTES_DEFAULT } else { self.audit_log_maxsize };
        let Some(bytes_max) = megabytes.checked_mul(1 << 20) else {
            bail!("--audit-log-maxsize is too large");
        };
        let age_max = (self.audit_log_maxage > 0).then(|| DAY * self.audit_log_maxage);
        let rotation = Rotation { bytes_max, backups_max: self.audit_log_maxbackup, age_max };
        let log = LogOptions { path, mode, rotation };
        Ok(Some(Audit { policy_file: self.audit_policy_file, log }))
    }
}
