use super::super::super::EventKind;
use super::super::super::item::ItemKind;
use super::super::watchers::{Interest, Receiver, Room};
use super::*;
use crate::meta::Gvk;
use crate::selector::{FieldSelector, LabelSelector};

const COLOR: usize = 0;
const SIZE: usize = 1;

/// A path, and the color and size that it gets; `None` = it is deleted.
type Step<'a> = (&'a str, Option<(&'a str, &'a str)>);

/// What is stored is no object.
const BROKEN: Option<(&str, &str)> = Some(("broken", ""));

/// A state beside the truth, which is kept the slow way.
struct World {
    state: State,
    kind: Arc<ItemKind>,
    /// As of each revision.
    truth: Vec<(Revision, Objects)>,
}

impl World {
    fn new(options: &CacheOptions) -> Self {
        let fields = &["spec.color", "spec.size"];
        let mut kind = ItemKind::new(Gvk::new("g", "v", "K"), "/".into(), fields);
        kind.labels = &["color"];
        let kind = Arc::new(kind);
        let mut state = State::new(2, 1, options);
        state.fill(Objects::new(), 1);
        Self { state, kind, truth: vec![(1, Objects::new())] }
    }

    fn item(&self, path: &str, (color, size): (&str, &str), revision: Revision) -> Arc<Item> {
        let value = if color == "broken" {
            "nonsense".to_owned()
        } else {
            let spec = format!(r#"{{"color":"{color}","size":"{size}"}}"#);
            let metadata = format!(r#"{{"name":"a","labels":{{"color":"{color}"}}}}"#);
            format!(r#"{{"apiVersion":"g/v","kind":"K","metadata":{metadata},"spec":{spec}}}"#)
        };
        let natural = EventKind::Added;
        Arc::new(Item::new(&self.kind, path.into(), value.as_bytes(), revision, natural))
    }

    fn apply(&mut self, revision: Revision, steps: &[Step<'_>]) {
        let mut objects = self.truth.last().unwrap().1.clone();
        let mut updates = Vec::new();
        for (path, content) in steps {
            let path: Arc<str> = (*path).into();
            let item = content.map(|content| self.item(&path, content, revision));
            let before = match &item {
                Some(item) => objects.insert(path.clone(), item.clone()),
                None => objects.remove(&path),
            };
            updates.push(Update { path, item, existed: before.is_some() });
        }
        self.state.apply(revision, updates).unwrap();
        self.truth.push((revision, objects));
    }

    /// The slow way.
    fn truth_at(&self, revision: Revision) -> Vec<(String, Revision)> {
        let last = self.truth.partition_point(|(at, _)| *at <= revision) - 1;
        versions(&self.truth[last].1)
    }

    fn at(&self, revision: Revision) -> Option<Vec<(String, Revision)>> {
        let way = self.state.history.way_to(revision, &self.state.objects)?;
        Some(versions(&way.go()))
    }

    fn found(&self, place: usize, value: &str) -> Vec<String> {
        let paths = |place: usize| -> Vec<String> {
            let found = self.state.with_value(place, value);
            found.iter().map(|item| item.path().to_string()).collect()
        };
        if place == 0 {
            // The label has the same value.
            assert_eq!(paths(0), paths(2), "{value}");
        }
        paths(place)
    }

    fn join(&mut self) -> Receiver {
        let interest = Interest {
            prefix: "".into(),
            labels: LabelSelector::default(),
            fields: FieldSelector::default(),
            room: Room::All,
        };
        let revision = self.state.revision;
        self.state.watchers.join(Arc::new(interest), revision).1
    }
}

fn versions(objects: &Objects) -> Vec<(String, Revision)> {
    objects.iter().map(|(path, item)| (path.to_string(), item.revision())).collect()
}

fn bytes(objects: &Objects) -> usize {
    objects.values().map(|item| item.size_bytes()).sum()
}

#[tokio::test]
async fn every_revision_can_be_read_exactly() {
    let mut world = World::new(&CacheOptions::default());
    let red = Some(("red", "1"));
    // Enough for several snapshots, with revisions of other kinds between.
    for step in 1..=150 {
        let revision = 3 * step;
        let here = format!("n/{}", step % 7);
        let there = format!("n/{}", (step + 3) % 7);
        match step % 5 {
            0 => world.apply(revision, &[(&here, None)]),
            1 => world.apply(revision, &[(&here, red), (&there, None)]),
            // Of one revision the last one counts.
            2 => world.apply(revision, &[(&here, red), (&here, None), (&here, red)]),
            _ => world.apply(revision, &[(&here, red), (&there, red)]),
        }
    }
    for revision in 1..=460 {
        assert_eq!(world.at(revision), Some(world.truth_at(revision)), "{revision}");
    }
    assert_eq!(world.at(0), None);
}

#[tokio::test]
async fn a_revision_is_applied_and_told_once() {
    let mut world = World::new(&CacheOptions::default());
    let mut receiver = world.join();
    world.apply(5, &[("a", Some(("red", "")))]);
    for revision in [1, 4, 5] {
        // As the store tells it again after a watch was begun too early.
        let item = Some(world.item("a", ("blue", ""), revision));
        let update = Update { path: "a".into(), item, existed: false };
        world.state.apply(revision, vec![update]).unwrap();
    }
    assert_eq!((world.state.revision, world.state.history.len()), (5, 1));
    assert_eq!(world.found(COLOR, "red"), ["a"]);
    assert!(receiver.recv().await.is_some());
    world.state.watchers.end_all();
    assert!(receiver.recv().await.is_none());
}

#[tokio::test]
async fn what_the_store_says_was_there_must_have_been() {
    for (path, put, existed, agrees) in [
        ("old", true, true, true),
        ("old", true, false, false),
        ("old", false, true, true),
        ("old", false, false, false),
        ("new", true, false, true),
        ("new", true, true, false),
        ("new", false, true, false),
        // A deletion of nothing, which a transaction may contain.
        ("new", false, false, true),
    ] {
        let mut world = World::new(&CacheOptions::default());
        world.apply(2, &[("old", Some(("red", "")))]);
        let item = put.then(|| world.item(path, ("blue", ""), 3));
        let applied = world.state.apply(3, vec![Update { path: path.into(), item, existed }]);
        let row = format!("{path} {put} {existed}");
        match applied {
            Ok(()) => assert!(agrees && world.state.revision == 3, "{row}"),
            Err(error) => {
                let text = format!("disagree about {path} before revision 3");
                assert!(!agrees && error.to_string().contains(&text), "{row}: {error}");
                assert_eq!(world.state.revision, 2, "{row}: it was not applied");
            }
        }
    }
}

#[tokio::test]
async fn indexes_follow_every_change() {
    let mut world = World::new(&CacheOptions::default());
    // The changes; then what is red, what is blue, and what is of size 1.
    let rows: [(&[Step<'_>], [&[&str]; 3]); 9] = [
        (&[("b", Some(("red", "1")))], [&["b"], &[], &["b"]]),
        (&[("a", Some(("red", "")))], [&["a", "b"], &[], &["b"]]),
        (&[("b", Some(("blue", "1")))], [&["a"], &["b"], &["b"]]),
        (&[("a", Some(("", "1")))], [&[], &["b"], &["a", "b"]]),
        // What can't be read may be anything.
        (&[("c", BROKEN)], [&["c"], &["b", "c"], &["a", "b", "c"]]),
        (&[("b", BROKEN)], [&["b", "c"], &["b", "c"], &["a", "b", "c"]]),
        (&[("c", Some(("red", "")))], [&["b", "c"], &["b"], &["a", "b"]]),
        (&[("b", None), ("a", Some(("red", "2")))], [&["a", "c"], &[], &[]]),
        (&[("a", None), ("c", None)], [&[], &[], &[]]),
    ];
    for (number, (steps, [red, blue, one])) in (2..).zip(rows) {
        world.apply(number, steps);
        let found = [(COLOR, "red", red), (COLOR, "blue", blue), (SIZE, "1", one)];
        for (place, value, expected) in found {
            assert_eq!(world.found(place, value), expected, "{value} after {steps:?}");
        }
        let State { objects, objects_bytes, .. } = &world.state;
        assert_eq!(*objects_bytes, bytes(objects), "{steps:?}");
        assert!(world.found(SIZE, "9").iter().all(|path| "bc".contains(path)), "{steps:?}");
    }
    // No value is kept of which there are no more objects.
    assert!(world.state.by_value.iter().all(HashMap::is_empty) && world.state.broken.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_old_falls_out_of_the_window_and_stays_in_the_map() {
    let options = CacheOptions { history: Duration::from_secs(60), ..CacheOptions::default() };
    let mut world = World::new(&options);
    world.apply(2, &[("a", Some(("red", ""))), ("b", Some(("red", "")))]);
    tokio::time::advance(Duration::from_secs(40)).await;
    world.apply(4, &[("a", Some(("blue", "")))]);
    let readable = |world: &World| -> Vec<Revision> {
        (0..=6).filter(|revision| world.at(*revision).is_some()).collect()
    };
    assert_eq!(readable(&world), [1, 2, 3, 4, 5, 6]);
    // With the next change, and while nothing happens.
    tokio::time::advance(Duration::from_secs(30)).await;
    world.apply(6, &[("c", Some(("red", "")))]);
    assert_eq!(readable(&world), [2, 3, 4, 5, 6]);
    tokio::time::advance(Duration::from_secs(31)).await;
    world.state.tick(Instant::now());
    assert_eq!(readable(&world), [4, 5, 6]);
    for revision in 4..=6 {
        assert_eq!(world.at(revision), Some(world.truth_at(revision)));
    }
    assert_eq!(world.found(COLOR, "red"), ["b", "c"]);
}

#[tokio::test]
async fn what_is_too_much_falls_out_of_the_window() {
    let options = CacheOptions { history_bytes_max: 5_000, ..CacheOptions::default() };
    let mut world = World::new(&options);
    for revision in 2..=200 {
        world.apply(revision, &[("a", Some(("red", "")))]);
    }
    let oldest = world.state.history.oldest();
    assert!(oldest > 150 && oldest < 200, "{oldest}");
    assert_eq!(world.at(oldest - 1), None);
    assert_eq!(world.at(oldest), Some(vec![("a".into(), oldest)]));
    // What the window holds is not what the objects take.
    assert_eq!(world.state.objects_bytes, bytes(&world.state.objects));
}

#[tokio::test(start_paused = true)]
async fn filling_begins_anew() {
    let mut world = World::new(&CacheOptions::default());
    world.apply(2, &[("a", Some(("red", ""))), ("b", BROKEN)]);
    let mut receiver = world.join();
    let generation = world.state.generation;
    world.state.distrust();
    assert!(!world.state.is_ready() && receiver.recv().await.is_none());
    tokio::time::advance(Duration::from_secs(7)).await;
    // The first moment counts.
    world.state.close();
    assert_eq!(world.state.unready_for(Instant::now()), Some(Duration::from_secs(7)));
    let items = [world.item("c", ("red", "1"), 8), world.item("a", ("blue", ""), 7)];
    let objects = items.map(|item| (item.path().clone(), item)).into_iter().collect();
    world.state.fill(objects, 9);
    assert!(world.state.is_ready() && world.state.unready_for(Instant::now()).is_none());
    // Whoever began before either of them must begin again.
    assert_eq!(world.state.generation, generation + 2);
    assert_eq!(
        (world.found(COLOR, "red"), world.found(SIZE, "1")),
        (vec!["c".into()], vec!["c".into()])
    );
    assert_eq!(world.state.objects_bytes, bytes(&world.state.objects));
    assert_eq!((world.state.revision, world.at(8)), (9, None));
    assert_eq!(world.at(9), Some(vec![("a".into(), 7), ("c".into(), 8)]));
}

#[tokio::test]
async fn progress_never_goes_back() {
    let mut world = World::new(&CacheOptions::default());
    for (told, reached) in [(7, 7), (3, 7), (8, 8)] {
        world.state.progress(told);
        assert_eq!(world.state.revision, reached);
    }
    // What it has said is past is not applied any more.
    let item = Some(world.item("a", ("red", ""), 8));
    world.state.apply(8, vec![Update { path: "a".into(), item, existed: false }]).unwrap();
    assert!(world.state.objects.is_empty());
}
