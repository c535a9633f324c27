use super::super::history::{
    Compaction, Fact, Failure, Filter, History, List, Page, Revision, Seen, Version, Write,
};
use super::super::{Check, Served, check};
use super::story::{LATER, everything, object, red, span, state, story};
use super::{expect, expect_served};

pub(super) fn a_list_is_the_state() {
    let all = |revision| state(revision, &everything());
    let reds = |revision| state(revision, &red());
    let swapped: fn() -> Vec<Seen> = || state(4, &everything()).into_iter().rev().collect();
    let (latest, any, exact) = (Version::Latest, Version::Any, Version::Exact);
    let rows = [
        ("current", latest, everything(), 8, all(8), ""),
        // 7 is a revision of other keys.
        ("stale", latest, everything(), 7, all(7), "a revision of 8"),
        ("any", any, everything(), 3, all(3), ""),
        ("not older", Version::AtLeast(5), everything(), 7, all(7), ""),
        ("older", Version::AtLeast(5), everything(), 4, all(4), "a revision of 5"),
        ("exact", exact(4), everything(), 4, all(4), ""),
        ("nearly exact", exact(4), everything(), 5, all(5), "a revision of 4..=4"),
        ("a stale snapshot", exact(5), everything(), 5, all(4), "at 5"),
        ("one missing", exact(4), everything(), 4, vec![object(4)], "more pages"),
        ("one too many", exact(6), everything(), 6, all(5), "at 6"),
        ("out of order", exact(4), everything(), 4, swapped(), "at 4"),
        ("selected", exact(5), red(), 5, reds(5), ""),
        ("selected too much", exact(5), red(), 5, all(5), "at 5"),
        ("selected of the past", exact(5), red(), 5, reds(4), "more pages"),
        ("nothing selected", exact(4), red(), 4, Vec::new(), ""),
    ];
    for (row, version, filter, revision, items, expected) in rows {
        let page = page(revision, items, None, false);
        let list = List { pages: vec![page], ..list(version, 0, filter) };
        expect(row, &with(list), Check::List, expected);
    }
}

pub(super) fn pages_are_one_list() {
    let all = state(5, &everything());
    let (a, b) = (vec![all[0].clone()], vec![all[1].clone()]);
    let first = || page(5, a.clone(), Some(1), true);
    let last = || page(5, b.clone(), None, false);
    let exact = Version::Exact(5);
    let rows = [
        ("two pages", exact, vec![first(), last()], ""),
        ("the first alone", exact, vec![first()], ""),
        ("an early end", exact, vec![page(5, a.clone(), None, false)], "more pages"),
        ("of two revisions", exact, vec![first(), page(6, b.clone(), None, false)], "revision 5"),
        ("one twice", exact, vec![first(), page(5, a.clone(), None, false)], "page 1: at 5"),
        ("miscounted", exact, vec![page(5, a.clone(), Some(2), true)], "remainingItemCount"),
        ("uncounted", exact, vec![page(5, a.clone(), None, true)], "remainingItemCount"),
        ("not full", exact, vec![page(5, Vec::new(), Some(2), true)], "a full page"),
        ("too full", exact, vec![page(5, all.clone(), None, false)], "at most 1"),
        ("any may be whole", Version::Any, vec![page(5, all.clone(), None, false)], ""),
    ];
    for (row, version, pages, expected) in rows {
        let list = List { pages, ..list(version, 1, everything()) };
        expect(row, &with(list), Check::List, expected);
    }
    // Selected pages are not counted.
    for (row, remaining, expected) in
        [("no count", None, ""), ("a count", Some(0), "remainingItemCount")]
    {
        let pages = vec![page(5, vec![object(5)], remaining, true)];
        let list = List { pages, ..list(exact, 1, red()) };
        expect(row, &with(list), Check::List, expected);
    }
    // The rest after a token that expired.
    for (row, items, expected) in
        [("the rest", vec![object(5), object(8)], ""), ("a gap", vec![object(8)], "at 8")]
    {
        let pages = vec![page(8, items, None, false)];
        let after = Some("n/a".into());
        let list = List { pages, after, ..list(Version::Latest, 5, everything()) };
        expect(row, &with(list), Check::List, expected);
    }
}

pub(super) fn only_history_that_is_gone_expires() {
    let failed = |code| Failure { start: LATER, end: LATER + 1, code, detail: String::new() };
    let cache = |events| Served::FromCache { events };
    let still = "still there";
    let rows = [
        ("compacted", 410, Some((6, LATER)), Served::FromStore, ""),
        ("not that far", 410, Some((4, LATER)), Served::FromStore, still),
        ("not yet", 410, Some((6, LATER + 5)), Served::FromStore, still),
        ("not at all", 410, None, Served::FromStore, still),
        ("too many events ago", 410, None, cache(2), ""),
        ("not many events ago", 410, None, cache(3), still),
        ("away", 503, None, Served::FromStore, ""),
        ("no answer", 0, None, Served::FromStore, ""),
        ("refused", 400, None, Served::FromStore, "a list"),
    ];
    for (row, code, compaction, served, expected) in rows {
        let mut history =
            with(List { failure: Some(failed(code)), ..list(Version::Exact(5), 0, everything()) });
        let made = compaction.map(|(revision, start)| Compaction { start, revision });
        history.compactions.extend(made);
        expect_served(row, &history, served, Check::List, expected);
    }
    // A cache begins anew with whatever is there after trouble.
    let mut history =
        with(List { failure: Some(failed(410)), ..list(Version::Exact(5), 0, everything()) });
    history.troubles.push(115);
    expect_served("forgotten", &history, cache(100), Check::List, "");
    history.troubles = vec![65];
    expect_served("remembered", &history, cache(100), Check::List, still);
}

/// `n/a` comes back by a second try of its creation and is deleted again: that is wrong of the
/// writes, and what others saw meanwhile is as right as before.
pub(super) fn an_object_that_came_back_confuses_no_list() {
    let page = Page { start: 130, end: 135, ..page(8, state(8, &everything()), None, false) };
    let list = List { pages: vec![page], ..list(Version::Latest, 0, everything()) };
    let mut history = with(list);
    history.facts.push(Fact { revision: 9, ..history.facts[0].clone() });
    history.facts.push(Fact { revision: 10, ..history.facts[4].clone() });
    history.writes.push(Write { span: span(150, 160), ..history.writes[4].clone() });
    expect("deleted twice", &history, Check::Write, "A deleted exactly once in etcd");
    let found = check(&history, Served::FromStore);
    assert!(found.iter().all(|violation| violation.check == Check::Write), "{found:#?}");
}

fn list(version: Version, limit: usize, filter: Filter) -> List {
    List::begin("test", String::new(), filter, version, limit)
}

fn page(revision: Revision, items: Vec<Seen>, remaining: Option<u64>, more: bool) -> Page {
    Page { replica: 0, start: LATER, end: LATER + 1, revision, items, remaining, more }
}

fn with(list: List) -> History {
    let mut history = story();
    history.lists.push(list);
    history
}
