use apiserver::meta::ObjectKey;
use apiserver::storage::Item;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

/// A member in words: `fresh`/`stale`, `ready`/`unready`/`finished`/`deleting`, and of the unready:
/// `old` (beyond the grace period), `held` (nowhere to go, and old), `refused` (no Pod), or what the
/// kubelet says of its container, such as `ErrImagePull`.
fn member(index: usize, words: &str) -> Arc<Member> {
    let is = |word: &str| words.split(' ').any(|it| it == word);
    let name = format!("m{index}");
    let value = json!({"apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "Sandbox",
        "metadata": {"name": name, "namespace": "ns"}});
    let created = if is("old") || is("held") { "2026-01-01T00:00:00Z" } else { NOW };
    let trouble = words.split(' ').find(|word| word.starts_with(char::is_uppercase));
    let message = match trouble {
        Some(reason) => format!("Pod is not ready: {reason}: why"),
        None if is("held") => "0/1 nodes are available".into(),
        None if is("refused") => "exceeded quota".into(),
        None => "Pod is pending".into(),
    };
    let reason = if is("refused") { "ReconcilerError" } else { "DependenciesNotReady" };
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
        reason: reason.into(),
        message,
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

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn run(pool: &SandboxWarmPool, members: &[&str], revision: Option<&'static str>) -> Plan {
    run_after(&Setbacks::default(), pool, members, |it| it.revision = revision)
}

fn run_after(
    setbacks: &Setbacks,
    pool: &SandboxWarmPool,
    members: &[&str],
    change: impl Fn(&mut Observed<'_>),
) -> Plan {
    let members: Vec<_> =
        members.iter().enumerate().map(|(index, words)| member(index, words)).collect();
    let mut observed = Observed {
        pool,
        revision: Some("new"),
        members: &members,
        claimed_per_minute: 0,
        setbacks,
        tokens: 1_000,
        others: Others::default(),
        busy: false,
    };
    change(&mut observed);
    plan(&observed, now(), &Policy::default())
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
        // Late and ended ones are replaced, held ones kept.
        (2, replenish.clone(), vec!["ready", "unready old"], vec![1], 1),
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
        let plan = run(&pool(replicas, &strategy), &members, Some("new"));
        let label = format!("{replicas} {strategy} {members:?}");
        let places: Vec<_> = plan.delete.iter().map(|(place, _)| *place).collect();
        assert_eq!((&places, plan.create), (&delete, create), "{label}");
    }
}

#[test]
fn who_is_stuck_is_replaced_or_held() {
    let replenish = json!({"type": "OnReplenish"});
    let none: Vec<(usize, Why)> = Vec::new();
    for (members, delete, create, reason) in [
        // An image that can't be had is said long before the grace period is over.
        (vec!["ready", "ErrImagePull"], none.clone(), 0, "NotProgressing"),
        (vec!["ready", "ImagePullBackOff"], none.clone(), 0, "NotProgressing"),
        (vec!["ready", "InvalidImageName"], none.clone(), 0, "NotProgressing"),
        (vec!["ready", "CreateContainerConfigError"], none.clone(), 0, "NotProgressing"),
        (vec!["ready", "refused"], none.clone(), 0, "NotProgressing"),
        (vec!["ready", "CrashLoopBackOff"], none.clone(), 0, "NotProgressing"),
        // After it one gets another chance, and one that crashes always does.
        (vec!["ErrImagePull old", "ErrImagePull old"], vec![(0, Why::Stuck)], 1, "NotProgressing"),
        (
            vec!["CrashLoopBackOff old", "CrashLoopBackOff old"],
            vec![(0, Why::Late), (1, Why::Late)],
            2,
            "NotProgressing",
        ),
        (vec!["refused old", "held"], none.clone(), 0, "NotProgressing"),
        // The new revision may be the remedy, even where stale stock is used up.
        (
            vec!["stale ErrImagePull", "stale held"],
            vec![(0, Why::Stale), (1, Why::Stale)],
            2,
            "NotProgressing",
        ),
        (vec!["stale ready", "stale unready"], none.clone(), 0, "Replenishing"),
        // It does not matter once there are enough, or if it is on its way out.
        (vec!["ready", "ready", "ErrImagePull"], vec![(2, Why::Surplus)], 0, "StockFull"),
        (vec!["ready", "ErrImagePull deleting"], none.clone(), 0, "Replenishing"),
    ] {
        let plan = run(&pool(2, &replenish), &members, Some("new"));
        assert_eq!((&plan.delete, plan.create), (&delete, create), "{members:?}");
        assert_eq!(plan.status.conditions[0].reason, reason, "{members:?}");
    }
    let members = ["ErrImagePull old", "ErrImagePull old"];
    let once = run(&pool(2, &replenish), &members, Some("new"));
    assert_eq!(
        once.status.conditions[0].message,
        "Sandbox \"m0\": Pod is not ready: ErrImagePull: why"
    );
    let mut setbacks = Setbacks::default();
    setbacks.gave_up(now());
    let plan = run_after(&setbacks, &pool(2, &replenish), &members, |_| {});
    assert_eq!((&plan.delete, plan.create), (&none, 0), "one in a grace period");
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
        let plan = run(&pool(replicas, &rolling), &members, revision);
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

#[test]
fn creations_are_paced() {
    let pool = pool(1_000, &json!({}));
    let policy = Policy::default();
    assert_eq!(run(&pool, &[], Some("new")).create, policy.batch_max);
    assert_eq!(run(&pool, &["unready"; 80], Some("new")).create, 20);
    assert_eq!(run(&pool, &["unready"; 100], Some("new")).create, 0);
    assert_eq!(run(&pool, &["ready"; 100], Some("new")).create, policy.batch_max);
    assert_eq!(run(&pool, &[], None).create, 0, "no template");
    // What is on its way in other pools, and what all of them may make.
    for (tokens, starting, busy, expected) in [
        (1_000, 393, false, 7),
        (1_000, 400, false, 0),
        (1_000, 0, true, policy.busy_batch_max),
        (30, 0, false, 30),
        (9, 0, false, 0),
        (9, 395, false, 5),
    ] {
        let plan = run_after(&Setbacks::default(), &pool, &[], |it| {
            (it.tokens, it.others.starting, it.busy) = (tokens, starting, busy);
        });
        assert_eq!(plan.create, expected, "{tokens} tokens, {starting} elsewhere, busy: {busy}");
        assert_eq!(plan.requeue_after, Some(policy.pause));
        assert_eq!(plan.starting, expected);
        assert!(plan.short);
    }
    // Who is stuck takes up room in its own pool only.
    assert_eq!(run(&pool, &["ErrImagePull"; 100], Some("new")).create, 0);
    assert_eq!(run(&pool, &["ErrImagePull"; 100], Some("new")).starting, 0);
}

#[test]
fn what_all_may_have_is_shared() {
    let policy = Policy::default();
    let plan = |pool: &SandboxWarmPool, members: &[&str], short, starting| {
        run_after(&Setbacks::default(), pool, members, |it| it.others = Others { starting, short })
    };
    let large = pool(1_000, &json!({}));
    for (own, short, elsewhere, expected) in [
        // Alone, or beside pools that are as they should be.
        (40, 0, 0, 50),
        (0, 0, 390, 10),
        // Ten ask for the 400.
        (0, 9, 200, 40),
        (30, 9, 200, 10),
        (40, 9, 200, 0),
        (90, 9, 200, 0),
        (30, 9, 365, 5),
        // More pools than places.
        (0, 999, 399, 1),
        (1, 999, 300, 0),
        (0, 999, 400, 0),
    ] {
        let plan = plan(&large, &vec!["unready"; own], short, elsewhere);
        assert_eq!(plan.create, expected, "{own} of {short} short with {elsewhere}");
        assert_eq!(plan.requeue_after, Some(policy.pause));
        assert!(plan.short);
    }
    // It asks for no more where it has what it wants, where its members only wait, or without a
    // template.
    let small = pool(10, &json!({}));
    assert!(!plan(&small, &["unready"; 5], 9, 200).short);
    let full = plan(&large, &["ErrImagePull"; 100], 9, 200);
    assert!(!full.short);
    assert_eq!(full.requeue_after, Some(policy.recheck));
    assert!(!run(&large, &[], None).short);
}

#[test]
fn setbacks_slow_it_down() {
    let pool = pool(100, &json!({}));
    let mut setbacks = Setbacks::default();
    let run = |setbacks: &Setbacks| run_after(setbacks, &pool, &[], |_| {});
    setbacks.failed();
    assert_eq!(run(&setbacks).create, 1);
    setbacks.created(50);
    assert_eq!(run(&setbacks).create, 2);
    let lose = |setbacks: &mut Setbacks, name: &str| {
        let cause = format!("Sandbox {name:?}: Pod has failed");
        setbacks.lost(vec![name.into()], cause, now(), Duration::from_secs(300));
    };
    lose(&mut setbacks, "a");
    let once = run(&setbacks);
    assert_eq!((once.create, &*once.status.conditions[0].reason), (1, "Replenishing"));
    lose(&mut setbacks, "b");
    let again = run(&setbacks);
    let ready = &again.status.conditions[0];
    assert_eq!((again.create, again.requeue_after), (0, Some(Duration::from_secs(1))));
    assert_eq!(
        (&*ready.reason, &*ready.message),
        ("NotProgressing", "Sandbox \"b\": Pod has failed")
    );
}
