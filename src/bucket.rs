//! A token bucket. Pure: it is told the time.
//!
//! Own code, since the known crate (`governor`) grants a number of tokens or refuses it, and can't
//! say how many there are; whoever makes many things at once needs just that.

use std::time::Duration;

use jiff::Timestamp;

/// How fast a bucket fills, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Between two tokens.
    pub interval: Duration,
    /// Tokens that a full bucket holds.
    pub burst: u32,
}

/// Tokens that come with time. Full at first.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    /// When it is full again, if nothing is taken: says how many there are at any moment.
    full_at: Timestamp,
}

impl Bucket {
    pub fn new(rate: Rate) -> Self {
        Self { rate, full_at: Timestamp::MIN }
    }

    /// How many could be taken.
    pub fn available(&mut self, now: Timestamp) -> usize {
        let interval = self.rate.interval.as_nanos().max(1);
        let missing = self.missing(now).as_nanos().div_ceil(interval);
        let burst = u128::from(self.rate.burst);
        usize::try_from(burst.saturating_sub(missing)).unwrap_or(usize::MAX)
    }

    /// Takes `count`, or none if there are fewer.
    pub fn take(&mut self, count: usize, now: Timestamp) -> bool {
        if self.available(now) < count {
            return false;
        }
        let missing = self.missing(now).saturating_add(self.worth(count));
        self.full_at = now.saturating_add(missing).unwrap_or(now);
        true
    }

    /// Gives back what was taken for nothing.
    pub fn put_back(&mut self, count: usize) {
        self.full_at = self.full_at.saturating_sub(self.worth(count)).unwrap_or(self.full_at);
    }

    /// How long until there are `count`; a number over the burst is waited for in vain.
    pub fn wait(&mut self, count: usize, now: Timestamp) -> Duration {
        (self.missing(now) + self.worth(count)).saturating_sub(self.capacity())
    }

    fn missing(&mut self, now: Timestamp) -> Duration {
        let left = Duration::try_from(self.full_at.duration_since(now)).unwrap_or_default();
        // A clock that was set back must not stop everything for as long: then it is empty.
        if left > self.capacity() {
            self.full_at = now.saturating_add(self.capacity()).unwrap_or(now);
        }
        left.min(self.capacity())
    }

    fn capacity(&self) -> Duration {
        self.rate.interval.saturating_mul(self.rate.burst)
    }

    fn worth(&self, count: usize) -> Duration {
        self.rate.interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_767_225_600_000 + millis).unwrap()
    }

    #[test]
    fn tokens_come_with_time() {
        let mut bucket = Bucket::new(Rate { interval: Duration::from_millis(10), burst: 5 });
        assert_eq!(bucket.available(at(0)), 5);
        assert!(!bucket.take(6, at(0)), "more than it holds");
        assert!(bucket.take(4, at(0)));
        assert_eq!(bucket.available(at(0)), 1);
        assert_eq!(bucket.wait(1, at(0)), Duration::ZERO);
        assert_eq!(bucket.wait(3, at(0)), Duration::from_millis(20));
        assert!(!bucket.take(3, at(19)));
        assert!(bucket.take(3, at(20)));
        assert_eq!(bucket.available(at(20)), 0);
        // It holds no more than the burst, however long nobody took any.
        assert_eq!(bucket.available(at(1_000)), 5);
        assert!(bucket.take(5, at(1_000)));
        bucket.put_back(2);
        assert_eq!(bucket.available(at(1_000)), 2);
        // The clock is set back by a quarter of an hour.
        assert!(bucket.take(2, at(1_000)));
        assert_eq!(bucket.wait(1, at(-900_000)), Duration::from_millis(10));
        assert_eq!(bucket.available(at(-899_980)), 2);
    }

    #[test]
    fn in_the_long_run_the_rate_is_kept() {
        let mut bucket = Bucket::new(Rate { interval: Duration::from_millis(5), burst: 50 });
        let taken: usize = (0..10_000)
            .map(|millis| {
                let count = bucket.available(at(millis)).min(7);
                assert!(bucket.take(count, at(millis)));
                count
            })
            .sum();
        assert!((2_000..=2_050).contains(&taken), "{taken} in ten seconds at 200 a second");
    }
}
