//! Small histories by hand, good and bad: what the model must find and what it must let pass.

#![expect(clippy::unwrap_used, reason = "clippy knows tests by their attribute, which these lack")]

mod lists;
mod reads;
mod story;
mod watches;
mod writes;

use super::history::History;
use super::{Check, Served, check};

/// Every table; the runner has no other way to find them, and the compiler reports who is missing.
pub(crate) const ALL: [(&str, fn()); 12] = [
    ("model::writes::an_outcome_must_fit_what_happened", writes::an_outcome_must_fit_what_happened),
    ("model::writes::a_refusal_must_have_been_true", writes::a_refusal_must_have_been_true),
    ("model::reads::an_object_is_shown_as_it_was", reads::an_object_is_shown_as_it_was),
    ("model::lists::a_list_is_the_state", lists::a_list_is_the_state),
    ("model::lists::pages_are_one_list", lists::pages_are_one_list),
    ("model::lists::only_history_that_is_gone_expires", lists::only_history_that_is_gone_expires),
    (
        "model::lists::an_object_that_came_back_confuses_no_list",
        lists::an_object_that_came_back_confuses_no_list,
    ),
    ("model::watches::events_are_gapless", watches::events_are_gapless),
    ("model::watches::selectors_make_events", watches::selectors_make_events),
    ("model::watches::bookmarks_run_behind", watches::bookmarks_run_behind),
    ("model::watches::the_state_comes_first", watches::the_state_comes_first),
    ("model::watches::a_failure_needs_a_reason", watches::a_failure_needs_a_reason),
];

/// `expected` is a part of the one violation's text; empty = none.
fn expect(row: &str, history: &History, kind: Check, expected: &str) {
    expect_served(row, history, Served::FromStore, kind, expected);
}

fn expect_served(row: &str, history: &History, served: Served, kind: Check, expected: &str) {
    let found = check(history, served);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    if expected.is_empty() {
        assert!(found.is_empty(), "{row}: {texts:#?}");
        return;
    }
    let is_it = |violation: &super::Violation| {
        violation.check == kind && violation.problem.expected.contains(expected)
    };
    assert!(found.iter().any(is_it), "{row}: {expected:?} not in {texts:#?}");
}
