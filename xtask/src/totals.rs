//! Counts test results in the output of cargo test and go test.

use std::iter::Sum;
use std::ops::AddAssign;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Totals {
    /// A run that could not even report, for example one that did not compile.
    pub(crate) const BROKEN: Self = Self { passed: 0, failed: 1, ignored: 0 };

    /// What one line of `cargo test`, `go test -v` or pytest adds.
    pub(crate) fn of_line(line: &str) -> Self {
        if let Some(rest) = line.strip_prefix("test result: ") {
            return Self {
                passed: number_before(rest, " passed"),
                failed: number_before(rest, " failed"),
                ignored: number_before(rest, " ignored"),
            };
        }
        // The last of pytest's: `==== 1 failed, 12 passed, 1 error in 3.21s ====`.
        if line.starts_with('=') && line.contains(" in ") && line.ends_with('=') {
            let failed = number_before(line, " failed") + number_before(line, " error");
            return Self {
                passed: number_before(line, " passed"),
                failed,
                ignored: number_before(line, " skipped") + number_before(line, " xfailed"),
            };
        }
        // Only tests that Go's runner starts itself: a subtest is a part of its parent.
        let mut totals = Self::default();
        if line.starts_with("--- PASS: ") {
            totals.passed = 1;
        } else if line.starts_with("--- FAIL: ") {
            totals.failed = 1;
        } else if line.starts_with("--- SKIP: ") {
            totals.ignored = 1;
        }
        totals
    }

    /// With the runner's own verdict: a failure that no line told of still counts.
    pub(crate) fn with_verdict(mut self, success: bool) -> Self {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        let mut sum = Self::default();
        parts.for_each(|part| sum += part);
        sum
    }
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split_once(word).map_or("", |(before, _)| before);
    before.rsplit([' ', ';']).next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(output: &str) -> Totals {
        output.lines().map(Totals::of_line).sum()
    }

    #[test]
    fn cargo_test_binaries_add_up() {
        let output = "running 3 tests\ntest a ... ok\ntest result: ok. 12 passed; 0 failed; \
                      1 ignored; 0 measured; 2 filtered out; finished in 0.01s\n\
                      test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(count(output), Totals { passed: 15, failed: 2, ignored: 1 });
    }

    #[test]
    fn go_subtests_belong_to_their_parent() {
        let output = "=== RUN   TestA\n=== RUN   TestA/x\n    --- PASS: TestA/x (0.00s)\n\
                      --- PASS: TestA (0.00s)\n--- FAIL: TestB (1.20s)\n--- SKIP: TestC (0.00s)\nFAIL";
        // A continuation backslash eats the indentation of the next line only.
        assert_eq!(count(output), Totals { passed: 1, failed: 1, ignored: 1 });
    }

    #[test]
    fn pytest_says_it_last() {
        let output = "=== test session starts ===\ntests/test_a.py ..F  [100%]\n\
                      === short test summary info ===\nFAILED tests/test_a.py::test_b\n\
                      ==== 1 failed, 12 passed, 2 skipped, 1 error in 3.21s ====";
        assert_eq!(count(output), Totals { passed: 12, failed: 2, ignored: 2 });
        let good = "======= 40 passed in 93.03s (0:01:33) =======";
        assert_eq!(count(good), Totals { passed: 40, failed: 0, ignored: 0 });
    }

    #[test]
    fn a_silent_failure_counts_once() {
        assert_eq!(Totals::default().with_verdict(false), Totals::BROKEN);
        let told = Totals { passed: 1, failed: 2, ignored: 0 };
        assert_eq!(told.with_verdict(false), told);
        assert_eq!(told.to_string(), "1 passed, 2 failed");
    }
}
