use super::super::Check;
use super::super::history::{
    Begin, Compaction, Event, Failure, Filter, History, Item, Kind, Selector, Version, Watch,
};
use super::expect;
use super::story::{
    LATER, added, bookmark, deleted, end, everything, longer, modified, modified_in, object, red,
    span, story,
};

pub(super) fn events_are_gapless() {
    let all = || vec![added(3), modified(4), modified(5), deleted(4, 6), added(8)];
    let without = |index| {
        let mut items = all();
        items.remove(index);
        items
    };
    let with = |index, item| {
        let mut items = all();
        items[index] = item;
        items
    };
    let of_the_deletion = || Item { at: LATER, event: Event::Object(Kind::Deleted, object(4)) };
    let rows = [
        ("all", all(), ""),
        ("a beginning", all()[..2].to_vec(), ""),
        ("nothing", Vec::new(), ""),
        ("a dropped event", without(2), "revision: 5"),
        ("a dropped first event", without(0), "revision: 3"),
        ("a duplicate", vec![added(3), added(3)], "revision: 4"),
        ("going back", vec![added(3), modified(4), added(3)], "revision: 5"),
        ("out of order", vec![modified(4), added(3)], "revision: 3"),
        ("another kind", with(1, added(4)), "revision: 4"),
        ("not the old content", with(3, deleted(2, 6)), "revision: 6"),
        ("not the deletion's revision", with(3, of_the_deletion()), "revision: 6"),
        ("made up", [all(), vec![added(8)]].concat(), "next None"),
    ];
    for (row, items, expected) in rows {
        expect(row, &watch(Begin::After(2), everything(), items), Check::Watch, expected);
    }
}

pub(super) fn selectors_make_events() {
    let south = || Filter { namespace: Some("s".into()), selector: Selector::Everything };
    let named = || Filter { namespace: None, selector: Selector::Name("b".into()) };
    let rows = [
        // It ceases to match at 4: the content of before.
        ("turns", red(), vec![deleted(2, 4), added(5), added(8)], ""),
        ("the end missed", red(), vec![added(5)], "kind: Deleted"),
        ("the end as a change", red(), vec![modified(4)], "kind: Deleted"),
        ("the end with new content", red(), vec![deleted(4, 4)], "kind: Deleted"),
        ("the turn as a change", red(), vec![deleted(2, 4), modified(5)], "kind: Added"),
        ("gone before it went", red(), vec![deleted(2, 4), deleted(4, 6)], "revision: 5"),
        ("a namespace", south(), vec![added(8)], ""),
        ("of another namespace", south(), vec![added(3)], "revision: 8"),
        ("a name", named(), vec![added(3), modified(5)], ""),
    ];
    for (row, filter, items, expected) in rows {
        expect(row, &watch(Begin::After(2), filter, items), Check::Watch, expected);
    }
}

pub(super) fn bookmarks_run_behind() {
    let early = |revision| Item { at: 65, ..bookmark(revision) };
    let rows = [
        ("behind its events", 5, vec![bookmark(5), deleted(4, 6), bookmark(7), added(8)], ""),
        ("ahead of an event", 5, vec![bookmark(6)], "before the bookmark"),
        ("ahead after an event", 5, vec![deleted(4, 6), bookmark(8)], "before the bookmark"),
        ("going back", 5, vec![deleted(4, 6), bookmark(5)], "a bookmark of 6"),
        ("before the start", 5, vec![bookmark(4)], "a bookmark of 5"),
        ("of the future", 4, vec![early(4), early(5)], "before the bookmark"),
        ("of a future asked for", 20, vec![bookmark(20)], ""),
        ("an end without initial events", 5, vec![end(5)], "no end of initial events"),
        ("resumed behind it", 7, vec![added(8)], ""),
    ];
    for (row, after, items, expected) in rows {
        expect(row, &watch(Begin::After(after), everything(), items), Check::Watch, expected);
    }
    // Nothing there that the bookmark could be ahead of but time itself.
    let named = Filter { namespace: None, selector: Selector::Name("x".into()) };
    let history = watch(Begin::After(3), named.clone(), vec![early(4)]);
    expect("in time", &history, Check::Watch, "");
    let history = watch(Begin::After(3), named, vec![early(5)]);
    expect("before it was there", &history, Check::Watch, "a bookmark of 3..=4");
}

pub(super) fn the_state_comes_first() {
    let state = |version, marked| Begin::State { version, marked };
    let (any, latest) = (state(Version::Any, true), state(Version::Latest, true));
    let bare = state(Version::Any, false);
    let rows = [
        ("marked", any, vec![added(4), added(3), end(4), modified(5)], ""),
        ("in any order", any, vec![added(3), added(4), end(4)], ""),
        ("one missing", any, vec![added(4), end(4)], "the state at 4"),
        ("one twice", any, vec![added(4), added(4), end(4)], "the state at 4"),
        ("one too old", any, vec![added(2), added(3), end(4)], "the state at 4"),
        ("a gap behind the mark", any, vec![added(4), added(3), end(4), deleted(4, 6)], "next"),
        ("a change before the mark", any, vec![added(4), modified(5), end(5)], "ADDED"),
        ("cut before the mark", any, vec![added(4)], ""),
        ("never together", any, vec![added(8), added(4)], "of one revision"),
        ("current", latest, vec![added(5), added(8), end(8)], ""),
        ("not current", latest, vec![added(5), end(7)], "of a revision of 8"),
        ("not old enough", state(Version::AtLeast(5), true), vec![end(4)], "of a revision of 5"),
        ("unmarked", bare, vec![added(4), added(3), modified(5), deleted(4, 6)], ""),
        ("unmarked, an addition", bare, vec![added(2), added(3), modified(4)], ""),
        ("unmarked, cut", bare, vec![added(3)], ""),
        ("unmarked, a bookmark", bare, vec![added(5), bookmark(6), bookmark(7), added(8)], ""),
        ("unmarked, ahead", bare, vec![added(5), bookmark(8)], "before the bookmark"),
        ("unmarked, a gap", bare, vec![added(4), added(3), deleted(4, 6)], "next"),
        ("unmarked, never together", bare, vec![added(8), added(4)], "next"),
        ("from nothing", bare, vec![added(2), added(3), modified(4), modified(5)], ""),
    ];
    for (row, begin, items, expected) in rows {
        expect(row, &watch(begin, everything(), items), Check::Watch, expected);
    }
    let wrong = watch(bare, red(), vec![added(4)]);
    expect("not selected", &wrong, Check::Watch, "the state at 5");
    // `n/x` came and went in 9 and 10: the state is that of 10, which looks like that of 8.
    let mut history = longer();
    let items = vec![added(5), added(8), modified_in(&history, 11)];
    let watched = watch(bare, everything(), items).watches;
    history.watches.extend(watched);
    expect("looks like an older state", &history, Check::Watch, "");
}

pub(super) fn a_failure_needs_a_reason() {
    let rows = [
        ("compacted", 410, Some(4), ""),
        ("not that far", 410, Some(1), "still there"),
        ("not at all", 410, None, "still there"),
        ("away", 503, None, ""),
        ("broken off", 0, None, ""),
        ("refused", 422, None, "a watch"),
        ("garbage", 200, None, "a watch"),
    ];
    for (row, code, compacted, expected) in rows {
        let mut history = watch(Begin::After(2), everything(), vec![added(3)]);
        let (start, end, detail) = (LATER, LATER + 1, String::new());
        history.watches[0].failure = Some(Failure { start, end, code, detail });
        history.compactions.extend(compacted.map(|revision| Compaction { start: 0, revision }));
        expect(row, &history, Check::Watch, expected);
    }
    let mut history = story();
    history.laggards.push("v1".into());
    expect("never caught up", &history, Check::Watch, "heard of at last");
}

fn watch(begin: Begin, filter: Filter, items: Vec<Item>) -> History {
    let mut history = story();
    history.watches.push(Watch {
        span: span(LATER, LATER),
        query: String::new(),
        filter,
        begin,
        items,
        failure: None,
    });
    history
}
