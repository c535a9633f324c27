use super::super::super::item::ItemKind;
use super::*;
use crate::meta::Gvk;

fn item(path: &str, revision: Revision, color: &str) -> Arc<Item> {
    let gvk = Gvk::new("g", "v", "K");
    let kind = Arc::new(ItemKind::new(gvk, "/".into(), &["spec.color"]));
    let value = format!(
        r#"{{"apiVersion":"g/v","kind":"K","metadata":{{"name":"a"}},"spec":{{"color":"{color}"}}}}"#
    );
    Arc::new(Item::new(&kind, path.into(), value.as_bytes(), revision, EventKind::Added))
}

fn created(path: &str, revision: Revision, color: &str) -> Arc<Change> {
    Arc::new(Change::new(revision, path.into(), None, Some(item(path, revision, color))))
}

fn interest(prefix: &str, fields: &str, room: Room) -> Arc<Interest> {
    Arc::new(Interest {
        prefix: prefix.into(),
        labels: LabelSelector::default(),
        fields: FieldSelector::parse(fields).unwrap(),
        room,
    })
}

fn watchers(buffer: usize, bytes: usize) -> Watchers {
    let options = CacheOptions {
        watcher_buffer: buffer,
        watcher_buffer_bytes_max: bytes,
        ..CacheOptions::default()
    };
    Watchers::new(1, &options)
}

fn heard(receiver: &mut Receiver) -> Vec<Revision> {
    let mut revisions = Vec::new();
    while let Ok(told) = receiver.channel.try_recv() {
        receiver.bytes.fetch_sub(told.bytes(), Ordering::Relaxed);
        revisions.push(match told {
            Told::One(_, item) => item.item().revision(),
            Told::Many(all) => all[0].1.item().revision(),
            Told::Bookmark(revision) => -revision,
        });
    }
    revisions
}

#[test]
fn only_the_concerned_are_told() {
    let mut all = watchers(10, usize::MAX);
    let rooms = [
        ("", "", Room::All, vec![1, 2, 3, 4]),
        ("n/", "", Room::Namespace("n".into()), vec![1, 2]),
        ("n/", "metadata.name=a", Room::Object("n/a".into()), vec![1]),
        ("", "spec.color=red", Room::Field(0, "red".into()), vec![1, 3]),
        ("n/", "spec.color=red", Room::Field(0, "red".into()), vec![1]),
    ];
    let mut joined: Vec<_> = rooms
        .into_iter()
        .map(|(prefix, fields, room, expected)| {
            let (id, receiver) = all.join(interest(prefix, fields, room.clone()), 0);
            (id, room, receiver, expected)
        })
        .collect();
    assert_eq!(all.len(), 5);
    for (path, revision, color) in
        [("n/a", 1, "red"), ("n/b", 2, "blue"), ("m/a", 3, "red"), ("nn/a", 4, "green")]
    {
        all.tell(&[created(path, revision, color)]);
    }
    for (id, room, receiver, expected) in &mut joined {
        assert_eq!(heard(receiver), *expected, "{room:?}");
        all.leave(*id, room);
    }
    assert_eq!(all.len(), 0);
}

#[test]
fn a_full_buffer_ends_the_watcher_after_a_gapless_prefix() {
    let size = Told::One(EventKind::Added, SharedItem::new(item("n/a", 1, "red"))).bytes();
    for (buffer, bytes) in [(3, usize::MAX), (100, 3 * size + size / 2)] {
        let mut all = watchers(buffer, bytes);
        let (_, mut slow) = all.join(interest("", "", Room::All), 0);
        let (_, mut quick) = all.join(interest("", "", Room::All), 0);
        let mut quickly = Vec::new();
        for revision in 1..=6 {
            all.tell(&[created("n/a", revision, "red")]);
            quickly.extend(heard(&mut quick));
        }
        assert_eq!(quickly, [1, 2, 3, 4, 5, 6]);
        assert_eq!(heard(&mut slow), [1, 2, 3]);
        assert!(slow.channel.is_closed());
        assert_eq!((all.len(), all.overrun), (1, 1));
    }
}

#[test]
fn one_revision_is_one_letter() {
    let mut all = watchers(1, 1);
    let (_, mut receiver) = all.join(interest("", "", Room::All), 0);
    // Larger than the buffer, but alone.
    all.tell(&[created("n/a", 5, "red"), created("n/b", 5, "red")]);
    match receiver.channel.try_recv() {
        Ok(Told::Many(letter)) => assert_eq!(letter.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bookmarks_stand_behind_what_was_told() {
    let mut all = watchers(10, usize::MAX);
    let (id, mut receiver) = all.join(interest("", "", Room::All), 7);
    all.tell(&[created("n/a", 6, "red")]);
    all.bookmark(id, &Room::All, 6);
    all.tell(&[created("n/a", 8, "red")]);
    all.bookmark(id, &Room::All, 8);
    // Nothing up to the revision it was started from.
    assert_eq!(heard(&mut receiver), [-7, 8, -8]);
}
