use apiserver::meta::ObjectKey;
use apiserver::storage::Item;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

/// A member in words: `fresh`/`stale`, `ready`/`unready`/`stuck`/`held`/`finished`/`deleting`.
fn member(index: usize, words: &str) -> Arc<Member> {
    let is = |word: &str| words.split(' ').any(|it| it == word);
    let name = format!("m{index}");
    let value = json!({"apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "Sandbox",
        "metadata": {"name": name, "namespace": "ns"}});
    let created = if is("stuck") || is("held") { "2026-01-01T00:00:00Z" } else { NOW };
    Arc::new(Member {
        item: Arc::new(Item::for_tests(&value, "ns", &name, 1)),
        key: ObjectKey::namespaced("ns", name),
        uid: String::new(),
        pool_uid: "p".into(),
        template: if is("stale") { "old" } else { "new" }.into(),
        node: String::new(),
        ready: is("ready"),
        deleting: is("deleting"),
        finished: is("finished"),
        suspended: false,
        unschedulable: is("held"),
        message: "0/1 nodes are available".into(),
        created: Some(created.parse().unwrap()),
    })
}

fn pool(replicas: i32, strategy: &Value) -> SandboxWarmPool {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "generation": 3},
        "spec": {"replicas": replicas, "sandboxTemplateRef": {"name": "t"}, "updateStrategy": strategy},
    }))
    .unwrap()
}

fn run(pool: &SandboxWarmPool, members: &[&str], revision: Option<&str>, failures: u32) -> Plan {
    let members: Vec<_> =
        members.iter().enumerate().map(|(index, words)| member(index, words)).collect();
    let observed = Observed { pool, revision, members: &members, claimed_per_minute: 0, failures };
    plan(&observed, NOW.parse().unwrap(), &Policy::default())
}

/// Replicas, strategy, members, places to delete, how many to create.
type Case = (i32, Value, Vec<&'static str>, Vec<usize>, usize);

#[test]
fn what_is_made_and_what_goes() {
    let replenish = json!({"type": "OnReplenish"});
    let recreate = json!({"type": "Recreate"});
    let rolling = |surge: Value, unavailable: Value| {
        json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    };
    let cases: Vec<Case> = vec![
        // Empty, full, too full: unready first, then the youngest.
        (3, replenish.clone(), vec![], vec![], 3),
        (2, replenish.clone(), vec!["ready", "ready"], vec![], 0),
        (1, replenish.clone(), vec!["ready", "unready", "ready"], vec![1, 0], 0),
        (0, replenish.clone(), vec!["ready"], vec![0], 0),
        // Unready and terminating ones count.
        (2, replenish.clone(), vec!["unready", "ready deleting"], vec![], 0),
        // Stuck and ended ones are replaced, held ones kept.
        (2, replenish.clone(), vec!["ready", "stuck"], vec![1], 1),
        (2, replenish.clone(), vec!["ready", "finished"], vec![1], 1),
        (2, replenish.clone(), vec!["ready", "held"], vec![], 0),
        // Stale ones are used up.
        (2, replenish, vec!["stale ready", "stale ready"], vec![], 0),
        (2, recreate.clone(), vec!["stale ready", "stale unready", "ready"], vec![1, 0], 1),
        (1, recreate, vec!["ready"], vec![], 0),
        // One more at a time, none less.
        (3, rolling(json!(1), json!(0)), vec!["stale ready"; 3], vec![], 1),
        (
            3,
            rolling(json!(1), json!(0)),
            vec!["stale ready", "stale ready", "stale ready", "unready"],
            vec![],
            0,
        ),
        (
            3,
            rolling(json!(1), json!(0)),
            vec!["stale ready", "stale ready", "stale ready", "ready"],
            vec![0],
            1,
        ),
        // One less at a time, none more.
        (3, rolling(json!(0), json!(1)), vec!["stale ready"; 3], vec![0], 1),
        (3, rolling(json!(0), json!(1)), vec!["stale ready", "stale ready", "unready"], vec![], 0),
        // What can't be claimed goes at once.
        (2, rolling(json!(0), json!(1)), vec!["stale ready", "stale unready"], vec![1], 1),
        (2, rolling(json!(1), json!(0)), vec!["stale ready", "ready", "ready"], vec![0], 0),
    ];
    for (replicas, strategy, members, delete, create) in cases {
        let plan = run(&pool(replicas, &strategy), &members, Some("new"), 0);
        let label = format!("{replicas} {strategy} {members:?}");
        assert_eq!((&plan.delete, plan.create), (&delete, create), "{label}");
    }
}

#[test]
fn creations_are_paced() {
    let pool = pool(1_000, &json!({}));
    let policy = Policy::default();
    assert_eq!(run(&pool, &[], Some("new"), 0).create, policy.batch_max);
    assert_eq!(run(&pool, &["unready"; 80], Some("new"), 0).create, 20);
    assert_eq!(run(&pool, &["unready"; 100], Some("new"), 0).create, 0);
    assert_eq!(run(&pool, &["ready"; 100], Some("new"), 0).create, policy.batch_max);
    assert_eq!(run(&pool, &[], Some("new"), 3).create, 1, "slowly after failures");
    assert_eq!(run(&pool, &[], None, 0).create, 0, "no template");
}

#[test]
fn the_status_tells_how_far_it_is() {
    let rolling = json!({"type": "RollingUpdate"});
    for (replicas, members, revision, expected) in [
        (2, vec!["ready", "ready"], Some("new"), ("True", "StockFull", (2, 2, 2, 2))),
        (2, vec!["ready"], Some("new"), ("False", "Replenishing", (2, 1, 2, 1))),
        (2, vec!["ready", "held"], Some("new"), ("False", "NotProgressing", (2, 1, 2, 1))),
        (2, vec!["ready"], None, ("False", "TemplateNotFound", (1, 1, 0, 0))),
        (2, vec!["stale ready", "ready"], Some("new"), ("True", "StockFull", (3, 2, 2, 1))),
    ] {
        let plan = run(&pool(replicas, &rolling), &members, revision, 0);
        let status = &plan.status;
        let ready = &status.conditions[0];
        let counts = (
            status.replicas,
            status.ready_replicas,
            status.updated_replicas,
            status.updated_ready_replicas,
        );
        let got = (ready.status.as_str(), ready.reason.as_str(), counts);
        assert_eq!(got, expected, "{members:?}");
        assert_eq!(status.observed_generation, Some(3));
    }
}
