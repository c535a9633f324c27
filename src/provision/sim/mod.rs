//! Seeded simulations of the loop: users, crashes, faults and a second loop against the
//! invariants. A failure prints its seed.

mod driven;
mod launch;
mod sandboxes;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use apiserver::meta::{Object, ObjectKey};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_api::Sandbox;
use serde_json::{Value, json};

use self::world::World;
use crate::cluster::fake::Fault;
use crate::cluster::{Child, ChildKind, ChildMeta};

/// A name that somebody else holds.
const FOREIGN: &str = "d";
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn key(&mut self) -> ObjectKey {
        let index = usize::try_from(self.below(NAMES.len() as u64)).unwrap();
        key(NAMES[index])
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("ns", name)
}

fn spec(service: bool, volume: bool) -> Value {
    let mut spec = json!({
        "podTemplate": { "spec": { "containers": [{ "name": "main", "image": "img" }] } },
        "operatingMode": "Running",
    });
    if service {
        spec["service"] = true.into();
    }
    if volume {
        spec["volumeClaimTemplates"] = json!([{ "metadata": { "name": "data" }, "spec": {} }]);
    }
    spec
}

fn foreign_pod(key: &ObjectKey) -> Child {
    let metadata = ObjectMeta {
        name: Some(key.name.clone()),
        namespace: key.namespace.clone(),
        labels: Some(BTreeMap::from([("app".into(), "other".into())])),
        ..ObjectMeta::default()
    };
    let status = PodStatus { phase: Some("Running".into()), ..PodStatus::default() };
    Child::Pod(Box::new(Pod { metadata, status: Some(status), spec: None }))
}

/// One random thing happens.
fn act(world: &mut World, random: &mut Random) {
    let key = random.key();
    match random.below(100) {
        0..8 => world.sandboxes.create(&key, spec(random.below(2) == 0, random.below(2) == 0)),
        8..14 => world.sandboxes.edit(&key, "operatingMode", "Suspended".into()),
        14..20 => world.sandboxes.edit(&key, "operatingMode", "Running".into()),
        20..24 => world.sandboxes.remove(&key),
        24..27 => world.sandboxes.edit(&key, "service", (random.below(2) == 0).into()),
        27..30 if key.name != FOREIGN => world.cluster.delete_pod(&key),
        30..33 => {
            let fault = match random.below(3) {
                0 => Fault::Lost,
                1 => Fault::AnswerLost,
                _ => Fault::Rejected("quota".into()),
            };
            world.cluster.script(fault);
        }
        33..35 => world.sandboxes.fail(1),
        35..38 => world.crash(usize::from(random.below(2) == 0)),
        38..40 => world.sandboxes.annotate(
            &key,
            sandbox_api::keys::RESTARTED_AT,
            &random.below(1000).to_string(),
        ),
        40..52 => world.run_pod(&key),
        52..60 => _ = world.cluster.deliver(usize::try_from(random.below(4)).unwrap()),
        60..63 => world.collect_garbage(),
        63..70 => world.advance(Duration::from_millis(random.below(3000))),
        _ => _ = world.step(usize::from(random.below(3) == 0)),
    }
}

/// Never two living Pods of one Sandbox, and what is not ours stays as it is.
fn check_always(world: &World, foreign: &[Pod], seed: u64) {
    let mut owners = BTreeMap::new();
    for pod in world.cluster.pods() {
        if let Some(owner) = ChildMeta::of(&pod.metadata).owner {
            *owners.entry(owner.uid).or_insert(0) += 1;
        }
        if let Some(before) = foreign.iter().find(|f| f.metadata.name == pod.metadata.name)
            && pod.metadata.namespace == before.metadata.namespace
        {
            assert_eq!(pod.metadata, before.metadata, "seed {seed}: a foreign Pod was changed");
        }
    }
    for (uid, count) in owners {
        assert_eq!(count, 1, "seed {seed}: {count} Pods of Sandbox {uid}");
    }
    for before in foreign {
        let key = key(before.metadata.name.as_deref().unwrap());
        assert!(world.cluster.exists(ChildKind::Pod, &key), "seed {seed}: a foreign Pod is gone");
    }
}

fn condition(object: &Object, kind: &str) -> String {
    let sandbox: Sandbox = object.to_typed().unwrap();
    let status = sandbox.status.unwrap_or_default();
    let found = status.conditions.into_iter().find(|condition| condition.type_ == kind);
    found.map(|condition| format!("{}/{}", condition.status, condition.reason)).unwrap_or_default()
}

/// After the faults have stopped, everything is as asked.
fn check_converged(world: &World, seed: u64) {
    let pods = world.cluster.pods();
    for object in world.sandboxes.all() {
        let name = object.name();
        let pod = pods.iter().find(|pod| ChildMeta::of(&pod.metadata).owned_by(object.uid()));
        let suspended = object.at("spec.operatingMode") == Some(&"Suspended".into());
        let ready = condition(&object, "Ready");
        let text = format!("seed {seed}: {name} {:#?}", object.at("status"));
        assert_eq!(
            object.at("status.observedGeneration").and_then(Value::as_i64),
            Some(object.generation()),
            "{text}"
        );
        if suspended {
            assert!(pod.is_none(), "{text}");
            assert_eq!(ready, "False/SandboxSuspended", "{text}");
            assert_eq!(condition(&object, "Suspended"), "True/PodTerminated", "{text}");
        } else if name == FOREIGN {
            assert!(pod.is_none(), "{text}");
            assert_eq!(ready, "False/ReconcilerError", "{text}");
        } else {
            assert!(pod.is_some(), "{text}");
            assert_eq!(ready, "True/DependenciesReady", "{text}");
            let wants = object.at("spec.service") == Some(&true.into());
            let exists = world.cluster.exists(ChildKind::Service, &object.key());
            assert!(exists || !wants, "{text}");
        }
    }
    for pod in pods {
        let owner = ChildMeta::of(&pod.metadata).owner;
        let alive = |uid: &str| world.sandboxes.all().iter().any(|object| object.uid() == uid);
        assert!(owner.is_none_or(|owner| alive(&owner.uid)), "seed {seed}: a Pod is left behind");
    }
}

#[test]
fn invariants_hold_whatever_happens() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut world = World::new(2);
        world.cluster.put(foreign_pod(&key(FOREIGN)));
        let foreign = world.cluster.pods();
        for _ in 0..600 {
            act(&mut world, &mut random);
            check_always(&world, &foreign, seed);
        }
        world.cluster.heal();
        world.sandboxes.fail(0);
        // The foreign Pod is not what this is about: only its status is looked at.
        world.sandboxes.create(&key(FOREIGN), spec(false, false));
        world.settle();
        check_always(&world, &foreign, seed);
        check_converged(&world, seed);
    }
}
