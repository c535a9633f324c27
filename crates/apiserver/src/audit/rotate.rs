//! A file that begins anew when it is large. Ours, because the libraries at hand go on without a
//! file, and without an error, when they can't open one.
//!
//! Names of what was before: those of kube-apiserver's log (`audit-2006-01-02T15-04-05.000.log`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tracing::warn;

const FORMAT: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// When a file is full, and how many full ones are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    pub bytes_max: u64,
    /// 0 = all.
    pub backups_max: usize,
    /// `None` = whatever their age.
    pub age_max: Option<Duration>,
}

/// An open file, of mode 0600 if it is made here.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    bytes: u64,
    /// A line was written in part.
    is_torn: bool,
}

impl Rotating {
    /// # Errors
    /// When directory or file can't be made or opened.
    pub(super) fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            fs::create_dir_all(directory)?;
        }
        let (file, bytes) = append(&path)?;
        // A server that was killed may have left half a line.
        let is_torn = bytes > 0 && last_byte(&path)? != b'\n';
        Ok(Self { path, rotation, file, bytes, is_torn })
    }

    /// Whole lines, which stay together.
    ///
    /// # Errors
    /// Of the disk: the lines are lost, later ones may be written.
    pub(super) fn write(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + lines.len() as u64 > self.rotation.bytes_max {
            // A file that is too large is better than none.
            if let Err(error) = self.rotate(now) {
                warn!(path = %self.path.display(), error = %error, "can't rotate the audit log");
            }
        }
        if self.is_torn && self.bytes > 0 {
            self.file.write_all(b"\n")?;
            self.bytes += 1;
        }
        self.is_torn = true;
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        self.is_torn = false;
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let mut at = now;
        let mut backup = self.backup(at);
        while backup.exists() {
            at += Duration::from_millis(1);
            backup = self.backup(at);
        }
        fs::rename(&self.path, backup)?;
        (self.file, self.bytes) = append(&self.path)?;
        self.is_torn = false;
        self.prune(now)
    }

    fn backup(&self, at: Timestamp) -> PathBuf {
        let (stem, extension) = names(&self.path);
        self.path.with_file_name(format!("{stem}-{}{extension}", at.strftime(FORMAT)))
    }

    /// Removes the oldest of the files that this names.
    fn prune(&self, now: Timestamp) -> io::Result<()> {
        let (stem, extension) = names(&self.path);
        let directory = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let mut backups = Vec::new();
        for entry in fs::read_dir(directory.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let middle = name
                .strip_prefix(&format!("{stem}-"))
                .and_then(|rest| rest.strip_suffix(&extension));
            let made = middle.and_then(|text| DateTime::strptime(FORMAT, text).ok());
            if let Some(made) = made.and_then(|it| it.to_zoned(TimeZone::UTC).ok()) {
                backups.push((made.timestamp(), entry.path()));
            }
        }
        backups.sort_unstable();
        let Rotation { backups_max, age_max, .. } = self.rotation;
        let surplus = if backups_max == 0 { 0 } else { backups.len().saturating_sub(backups_max) };
        let oldest = age_max.and_then(|age| now.checked_sub(age).ok());
        for (index, (made, path)) in backups.into_iter().enumerate() {
            if index < surplus || oldest.is_some_and(|oldest| made < oldest) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// `audit` and `.log` of `audit.log`.
fn names(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map(|it| format!(".{}", it.to_string_lossy()));
    (stem, extension.unwrap_or_default())
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

fn last_byte(path: &Path) -> io::Result<u8> {
    let (mut file, mut byte) = (File::open(path)?, [0]);
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn directory() -> PathBuf {
        let directory = std::env::temp_dir().join(format!("audit-{}", crate::clock::new_uid()));
        fs::create_dir(&directory).unwrap();
        directory
    }

    fn files(directory: &Path) -> Vec<(String, String)> {
        let mut all: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        all.sort();
        all
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_full_file_begins_anew_and_the_oldest_go() {
        let directory = directory();
        let path = directory.join("audit.log");
        let rotation = Rotation { bytes_max: 6, backups_max: 2, age_max: None };
        let mut log = Rotating::open(path.clone(), rotation).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(directory.join("audit-other.log"), "x").unwrap();
        let now: Timestamp = "2026-01-02T03:04:05.006Z".parse().unwrap();
        log.write(b"1\n2\n3\n", now).unwrap();
        for line in [&b"4\n"[..], b"a line that is larger\n", b"5\n"] {
            log.write(line, now).unwrap();
        }
        let full = "a line that is larger\n";
        let expected = pairs(&[
            ("audit-2026-01-02T03-04-05.007.log", "4\n"),
            ("audit-2026-01-02T03-04-05.008.log", full),
            ("audit-other.log", "x"),
            ("audit.log", "5\n"),
        ]);
        assert_eq!(files(&directory), expected);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn old_files_go_whatever_their_number() {
        let directory = directory();
        let hour = Duration::from_secs(3600);
        let rotation = Rotation { bytes_max: 2, backups_max: 0, age_max: Some(hour) };
        let mut log = Rotating::open(directory.join("audit"), rotation).unwrap();
        let mut now: Timestamp = "2026-01-02T03:00:00Z".parse().unwrap();
        for text in ["1\n", "2\n", "3\n", "4\n"] {
            log.write(text.as_bytes(), now).unwrap();
            now += Duration::from_secs(40 * 60);
        }
        let names: Vec<_> = files(&directory).into_iter().map(|(name, _)| name).collect();
        let kept = ["audit-2026-01-02T04-20-00.000", "audit-2026-01-02T05-00-00.000"];
        assert_eq!(names, [&["audit"][..], &kept].concat());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_line_is_never_joined_to_a_torn_one() {
        let directory = directory();
        let path = directory.join("audit.log");
        fs::write(&path, "torn").unwrap();
        let rotation = Rotation { bytes_max: 1000, backups_max: 0, age_max: None };
        for line in [b"1\n", b"2\n"] {
            let mut log = Rotating::open(path.clone(), rotation.clone()).unwrap();
            log.write(line, Timestamp::UNIX_EPOCH).unwrap();
        }
        assert_eq!(files(&directory), pairs(&[("audit.log", "torn\n1\n2\n")]));
        fs::remove_dir_all(directory).unwrap();
    }
}
