use std::collections::BTreeSet;

use apiserver::storage::Item;
use serde_json::json;

use super::*;

fn item(
    name: &str,
    revision: i64,
    pool: &str,
    template: &str,
    node: &str,
    ready: bool,
) -> Arc<Item> {
    let status = if ready { "True" } else { "False" };
    let value = json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "Sandbox",
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("uid-{name}"),
            "labels": {keys::SANDBOX_TEMPLATE_HASH: template},
            "ownerReferences": [{"kind": "SandboxWarmPool", "uid": pool, "controller": true}],
        },
        "status": {
            "nodeName": node,
            "conditions": [{"type": "Ready", "status": status, "message": "m"}],
        },
    });
    Arc::new(Item::for_tests(&value, "ns", name, revision))
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("ns", name)
}

/// Takes for good.
fn names(members: Option<Vec<Held>>) -> Option<BTreeSet<String>> {
    let name = |member: Held| {
        let name = member.key.name.clone();
        member.spend();
        name
    };
    members.map(|all| all.into_iter().map(name).collect())
}

fn set(names: &[&str]) -> Option<BTreeSet<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_member_is_given_once() {
    let stock = Stock::default();
    for name in ["a", "b"] {
        stock.apply(&item(name, 1, "p", "t", "n", true)).unwrap();
    }
    stock.apply(&item("unready", 1, "p", "t", "n", false)).unwrap();
    stock.apply(&item("other", 1, "q", "t", "n", true)).unwrap();
    assert_eq!(stock.available("p", "t", false), 2);
    assert_eq!(names(stock.take("p", "t", false, 3)), None, "none rather than too few");
    assert_eq!(stock.available("p", "t", false), 2);
    assert_eq!(names(stock.take("p", "t", false, 2)), set(&["a", "b"]));
    assert_eq!(names(stock.take("p", "t", false, 1)), None);
}

#[test]
fn what_is_let_go_can_be_taken_unless_it_changed() {
    let stock = Stock::default();
    stock.apply(&item("a", 1, "p", "t", "n", true)).unwrap();
    let taken = stock.take("p", "t", false, 1).unwrap();
    assert_eq!(stock.available("p", "t", false), 0);
    drop(taken);
    assert_eq!(stock.available("p", "t", false), 1);
    let again = stock.take("p", "t", false, 1).unwrap();
    // The watch says it is not ready any more: its word counts.
    stock.apply(&item("a", 2, "p", "t", "n", false)).unwrap();
    drop(again);
    assert_eq!(stock.available("p", "t", false), 0);
    stock.apply(&item("a", 3, "p", "t", "n", true)).unwrap();
    assert_eq!(stock.available("p", "t", false), 1);
    let last = stock.take("p", "t", false, 1).unwrap();
    stock.remove(&key("a"));
    drop(last);
    assert_eq!(stock.available("p", "t", false), 0);
}

#[test]
fn the_fullest_node_gives_and_the_fresh_go_first() {
    let stock = Stock::default();
    for (name, template, node) in [
        ("a1", "new", "a"),
        ("b1", "new", "b"),
        ("b2", "new", "b"),
        ("b3", "new", "b"),
        ("old", "old", "c"),
    ] {
        stock.apply(&item(name, 1, "p", template, node, true)).unwrap();
    }
    for _ in 0..2 {
        let taken = names(stock.take("p", "new", true, 1)).unwrap();
        assert!(taken.iter().all(|name| name.starts_with('b')), "{taken:?}");
    }
    assert_eq!(names(stock.take("p", "new", true, 2)).map(|all| all.len()), Some(2));
    assert_eq!(names(stock.take("p", "new", false, 1)), None, "stale ones only if allowed");
    assert_eq!(names(stock.take("p", "new", true, 1)), set(&["old"]));
}

#[test]
fn a_new_list_replaces_what_was() {
    let stock = Stock::default();
    stock.apply(&item("gone", 1, "p", "t", "n", true)).unwrap();
    let stays = item("stays", 1, "p", "t", "n", true);
    stock.replace(&[stays]).unwrap();
    assert_eq!(names(stock.take("p", "t", false, 1)), set(&["stays"]));
    assert!(stock.member(&key("gone")).is_none());
}

#[test]
fn what_no_pool_owns_is_no_stock() {
    let stock = Stock::default();
    let mut value = json!({"apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "Sandbox",
        "metadata": {"name": "a", "namespace": "ns"}});
    stock.apply(&Arc::new(Item::for_tests(&value, "ns", "a", 1))).unwrap();
    assert!(stock.member(&key("a")).is_none());
    value["metadata"]["ownerReferences"] =
        json!([{"kind": "SandboxClaim", "uid": "c", "controller": true}]);
    stock.apply(&Arc::new(Item::for_tests(&value, "ns", "a", 2))).unwrap();
    assert!(stock.member(&key("a")).is_none());
}
