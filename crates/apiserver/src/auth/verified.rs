//! Chains that were verified, so that a connection's certificate is not verified anew for each of
//! its requests: an ECDSA verification is a tenth of a millisecond or more.
//!
//! A record belongs to one set of trust anchors and goes with it. What else a verification depends
//! on is the time: a record counts only while every certificate that was shown is valid, and
//! outside of that the chain is verified again, which then says what is wrong.

use std::ops::RangeInclusive;

use moka::sync::Cache;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::x509::Subject;

/// Chains remembered at once; more than that are verified again and again.
const CHAINS_MAX: u64 = 1_024;
/// Longer ones are not remembered.
const CHAIN_BYTES_MAX: usize = 16 * 1_024;

/// The chains that some trust anchors have verified. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Verified(Cache<Vec<u8>, Record>);

#[derive(Debug, Clone)]
struct Record {
    subject: Subject,
    /// Seconds of the Unix epoch.
    valid: RangeInclusive<i64>,
}

impl Default for Verified {
    fn default() -> Self {
        Self(Cache::new(CHAINS_MAX))
    }
}

impl Verified {
    /// Whose chain it is, if it was verified and nothing can have changed since.
    pub(super) fn get(&self, chain: &[CertificateDer<'_>], seconds: i64) -> Option<Subject> {
        let record = self.0.get(&key(chain)?)?;
        record.valid.contains(&seconds).then_some(record.subject)
    }

    pub(super) fn remember(&self, chain: &[CertificateDer<'_>], subject: &Subject) {
        let (Some(key), Some(valid)) = (key(chain), validity(chain)) else { return };
        self.0.insert(key, Record { subject: subject.clone(), valid });
    }
}

/// The certificates, each with its length before it.
fn key(chain: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
    let bytes = chain.iter().map(|one| one.len() + size_of::<usize>()).sum();
    if bytes > CHAIN_BYTES_MAX {
        return None;
    }
    let mut key = Vec::with_capacity(bytes);
    for one in chain {
        key.extend_from_slice(&one.len().to_ne_bytes());
        key.extend_from_slice(one);
    }
    Some(key)
}

/// When all of them are valid.
fn validity(chain: &[CertificateDer<'_>]) -> Option<RangeInclusive<i64>> {
    let mut all = i64::MIN..=i64::MAX;
    for one in chain {
        let (_, parsed) = X509Certificate::from_der(one).ok()?;
        let valid = parsed.validity();
        let from = valid.not_before.timestamp().max(*all.start());
        let to = valid.not_after.timestamp().min(*all.end());
        all = from..=to;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, date_time_ymd};

    use super::super::testing::FakeCa;
    use super::*;

    #[test]
    fn a_chain_counts_while_all_of_it_is_valid() {
        let ca = FakeCa::new("ca");
        let certificate = |from: i32, to: i32| {
            let mut params = CertificateParams::default();
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
            ca.sign(params).der
        };
        let (leaf, between) = (certificate(2020, 2030), certificate(2022, 2028));
        let chain = [leaf.clone(), between.clone()];
        let subject = Subject { common_name: "alice".into(), ..Subject::default() };
        let verified = Verified::default();
        let year = |year: i32| date_time_ymd(year, 6, 1).unix_timestamp();
        assert_eq!(verified.get(&chain, year(2025)), None);
        verified.remember(&chain, &subject);
        for (at, known) in [(2021, false), (2022, true), (2027, true), (2028, false), (2031, false)]
        {
            assert_eq!(verified.get(&chain, year(at)).is_some(), known, "{at}");
        }
        // Other chains, however alike.
        assert_eq!(verified.get(&[leaf], year(2025)), None);
        assert_eq!(verified.get(&[between], year(2025)), None);
        let long = vec![chain[0].clone(); CHAIN_BYTES_MAX / chain[0].len() + 1];
        verified.remember(&long, &subject);
        assert_eq!(verified.get(&long, year(2025)), None);
    }
}
