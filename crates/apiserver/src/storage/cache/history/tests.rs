use std::sync::Arc;

use super::super::super::EventKind;
use super::super::super::item::ItemKind;
use super::*;
use crate::meta::Gvk;

fn item(path: &str, revision: Revision) -> Arc<Item> {
    let kind = Arc::new(ItemKind::new(Gvk::new("g", "v", "K"), "/".into(), &[]));
    Arc::new(Item::new(&kind, path.into(), b"{}", revision, EventKind::Added))
}

/// The revision of each object.
fn versions(objects: &Objects) -> Vec<(String, Revision)> {
    objects.iter().map(|(path, item)| (path.to_string(), item.revision())).collect()
}

struct World {
    history: History,
    objects: Objects,
    /// As of each revision, the slow way.
    truth: Vec<(Revision, Objects)>,
}

impl World {
    fn new() -> Self {
        let mut history = History::new(Duration::from_secs(60), usize::MAX);
        history.restart(0, &Objects::new());
        Self { history, objects: Objects::new(), truth: vec![(0, Objects::new())] }
    }

    fn change(&mut self, revision: Revision, writes: &[(&str, bool)]) {
        let mut changes = Vec::new();
        for (path, put) in writes {
            let now = put.then(|| item(path, revision));
            let before = match &now {
                Some(item) => self.objects.insert((*path).into(), item.clone()),
                None => self.objects.remove(*path),
            };
            changes.push(Arc::new(Change::new(revision, (*path).into(), before, now)));
        }
        self.history.push(&changes, revision, &self.objects);
        self.truth.push((revision, self.objects.clone()));
    }
}

#[tokio::test]
async fn every_revision_of_the_window_can_be_listed() {
    let mut world = World::new();
    // Revisions with holes, as those of other kinds make them; creates, updates, deletes, several
    // at once.
    for step in 1..=500_i64 {
        let (a, b) = (format!("ns/{}", step % 7), format!("ns/{}", step % 11));
        match step % 5 {
            0 if a != b => world.change(step * 2, &[(&a, true), (&b, false)]),
            1 => world.change(step * 2, &[(&a, false)]),
            _ => world.change(step * 2, &[(&b, true)]),
        }
    }
    for (revision, expected) in &world.truth {
        for asked in [*revision, revision + 1] {
            let found = world.history.way_to(asked, &world.objects).unwrap().go();
            assert_eq!(versions(&found), versions(expected), "at {asked}");
        }
    }
}

#[tokio::test]
async fn follows_in_whole_revisions() {
    let mut world = World::new();
    world.change(2, &[("a", true), ("b", true), ("c", true)]);
    world.change(5, &[("a", true)]);
    let revisions = |after, limit| -> Vec<Revision> {
        let found = world.history.after(after, limit).unwrap();
        found.iter().map(|change| change.revision).collect()
    };
    assert_eq!(revisions(0, 1), [2, 2, 2]);
    assert_eq!(revisions(0, 3), [2, 2, 2]);
    assert_eq!(revisions(0, 4), [2, 2, 2, 5]);
    assert_eq!(revisions(2, 1), [5]);
    assert_eq!(revisions(4, 9), [5]);
    assert_eq!(revisions(9, 9), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn forgets_what_is_old_in_whole_revisions() {
    let mut world = World::new();
    world.change(2, &[("a", true), ("b", true)]);
    tokio::time::advance(Duration::from_secs(50)).await;
    world.change(5, &[("a", true)]);
    world.history.trim(Instant::now());
    assert_eq!((world.history.oldest(), world.history.len()), (0, 3));
    tokio::time::advance(Duration::from_secs(20)).await;
    world.history.trim(Instant::now());
    assert_eq!((world.history.oldest(), world.history.len()), (2, 1));
    assert!(world.history.after(1, 9).is_none() && world.history.after(2, 9).is_some());
    assert!(world.history.way_to(1, &world.objects).is_none());
    let at = world.history.way_to(2, &world.objects).unwrap().go();
    assert_eq!(versions(&at), [("a".into(), 2), ("b".into(), 2)]);
}

#[tokio::test]
async fn is_bounded_in_bytes() {
    let mut world = World::new();
    world.history.bytes_max = 10_000;
    for step in 1..=1000 {
        world.change(step, &[("a", true)]);
    }
    assert!(world.history.bytes() <= 10_000, "{}", world.history.bytes());
    assert!(world.history.len() > 5);
    let oldest = world.history.oldest();
    assert_eq!(versions(&world.history.way_to(oldest, &world.objects).unwrap().go()).len(), 1);
    assert!(world.history.way_to(oldest - 1, &world.objects).is_none());
}

#[test]
fn who_begins_at_a_shared_revision_can_be_told_of_all_of_it() {
    let mut world = World::new();
    world.change(1, &[("a", true)]);
    world.change(2, &[("b", true), ("c", true)]);
    world.change(4, &[("d", true)]);
    for (revision, shared) in
        [(0, false), (1, false), (2, true), (3, false), (4, false), (5, false)]
    {
        assert_eq!(world.history.is_shared(revision), shared, "{revision}");
    }
    let edge = |history: &History, revision| {
        let items = history.shared_edge(revision)?;
        Some(items.iter().map(|item| item.path().to_string()).collect::<Vec<_>>())
    };
    assert_eq!(edge(&world.history, 2), None, "not forgotten");
    // Forgotten, whole revisions at a time.
    world.history.bytes_max = world.history.bytes() / 4 + 1;
    world.history.trim(Instant::now());
    assert_eq!(world.history.oldest(), 2);
    assert_eq!(edge(&world.history, 2), Some(vec!["b".to_owned(), "c".to_owned()]));
    world.history.bytes_max = 0;
    world.history.trim(Instant::now());
    assert_eq!((world.history.oldest(), edge(&world.history, 4)), (4, None));
    // Filled anew: what has the list's revision may be some of several.
    world.history.restart(2, &world.truth[2].1);
    assert_eq!(edge(&world.history, 2), Some(vec!["b".to_owned(), "c".to_owned()]));
}
