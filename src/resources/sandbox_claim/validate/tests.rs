use serde_json::{Value, json};

use crate::resources::tests::{errors, validate_create, validate_update, with};

const ONE_SOURCE: &str = "spec: Invalid value: \"object\": exactly one of warmPoolRef or \
                          sandboxTemplateRef must be set";

fn claim() -> Value {
    json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "SandboxClaim",
        "metadata": {"name": "mine", "namespace": "default", "creationTimestamp": null},
        "spec": {"warmPoolRef": {"name": "pool"}},
    })
}

fn create(changes: &[(&str, Value)]) -> Vec<String> {
    errors(&validate_create("sandboxclaims", &with(&claim(), changes)))
}

#[test]
fn good_claims() {
    for changes in [
        vec![],
        vec![
            ("spec.warmPoolRef", json!(null)),
            ("spec.sandboxTemplateRef", json!({"name": "python"})),
        ],
        vec![("spec.idempotencyKey", json!("x".repeat(63)))],
        vec![("spec.onEmptyPool", json!("Fail"))],
        vec![(
            "spec.lifecycle",
            json!({"shutdownTime": "2030-01-02T03:04:05.678Z", "shutdownPolicy": "Delete"}),
        )],
        vec![(
            "spec.env",
            json!([
                {"name": "A", "value": ""},
                {"name": "A", "value": "x", "containerName": "side"},
            ]),
        )],
        vec![(
            "spec.additionalPodMetadata",
            json!({
                "labels": {"app.kubernetes.io/name": "x"},
                "annotations": {
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    "notkubernetes.io/x": "y",
                },
            }),
        )],
    ] {
        let got = validate_create("sandboxclaims", &with(&claim(), &changes));
        assert_eq!((errors(&got), got.warnings), (vec![], vec![]), "{changes:?}");
    }
}

#[test]
fn exactly_one_source() {
    assert_eq!(create(&[("spec.warmPoolRef", json!(null))]), [ONE_SOURCE]);
    assert_eq!(create(&[("spec.sandboxTemplateRef", json!({"name": "t"}))]), [ONE_SOURCE]);
    assert_eq!(
        create(&[("spec.warmPoolRef", json!({"name": ""}))]),
        ["spec.warmPoolRef.name: Required value"]
    );
}

#[test]
fn bad_claims() {
    for (field, value, expected) in [
        ("metadata.name", json!("a.b"), "metadata.name: Invalid value: \"a.b\": a lowercase"),
        (
            "spec.idempotencyKey",
            json!("x".repeat(64)),
            "spec.idempotencyKey: Too long: may not be more than 63 bytes",
        ),
        (
            "spec.idempotencyKey",
            json!(""),
            "spec.idempotencyKey: Invalid value: \"\": must not be empty",
        ),
        (
            "spec.lifecycle",
            json!({"shutdownTime": "soon"}),
            "spec.lifecycle.shutdownTime: Invalid value: \"soon\": must be a date-time",
        ),
        ("spec.env", json!([{"name": "", "value": ""}]), "spec.env[0].name: Required value"),
        (
            "spec.env",
            json!([{"name": "A=B", "value": ""}]),
            "spec.env[0].name: Invalid value: \"A=B\": must consist of printable",
        ),
        (
            "spec.env",
            json!([{"name": "A", "value": ""}, {"name": "A", "value": "", "containerName": ""}]),
            "spec.env[1].name: Duplicate value: \"A\"",
        ),
        (
            "spec.env",
            json!([{"name": "A", "value": "", "containerName": "a.b"}]),
            "spec.env[0].containerName: Invalid value: \"a.b\": a lowercase",
        ),
        (
            "spec.volumeClaimTemplates",
            json!([{"spec": {}}]),
            "spec.volumeClaimTemplates[0].metadata.name: Required value",
        ),
        (
            "spec.additionalPodMetadata",
            json!({"labels": {"sandbox.x-k8s.io/claim-uid": "x"}}),
            "spec.additionalPodMetadata.labels[sandbox.x-k8s.io/claim-uid]: Forbidden: the key is \
             reserved",
        ),
        (
            "spec.additionalPodMetadata",
            json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/x": "y"}}),
            "spec.additionalPodMetadata.annotations\
             [container.apparmor.security.beta.kubernetes.io/x]: Forbidden: the key is reserved",
        ),
        (
            "spec.additionalPodMetadata",
            json!({"annotations": {"k8s.io/x": "y"}}),
            "spec.additionalPodMetadata.annotations[k8s.io/x]: Forbidden: the key is reserved",
        ),
    ] {
        let got = create(&[(field, value)]);
        assert_eq!(got.len(), 1, "{got:?}");
        assert!(got[0].starts_with(expected), "{got:?}");
    }
}

#[test]
fn a_policy_without_an_end_is_warned_about() {
    let lifecycle = json!({"shutdownPolicy": "DeleteForeground"});
    let got = validate_create("sandboxclaims", &with(&claim(), &[("spec.lifecycle", lifecycle)]));
    assert_eq!(got.warnings.len(), 1);
}

fn update(old: &[(&str, Value)], new: &[(&str, Value)]) -> Vec<String> {
    let (old, new) = (with(&claim(), old), with(&claim(), new));
    errors(&validate_update("sandboxclaims", &new, &old))
}

#[test]
fn a_bound_claim_keeps_what_it_asked_for() {
    let bound = ("status", json!({"sandbox": {"name": "pool-x7f2k"}}));
    let bound = std::slice::from_ref(&bound);
    let env = json!([{"name": "A", "value": "1"}]);
    let vct = json!([{"metadata": {"name": "d"}, "spec": {}}]);
    for (field, value, printed) in [
        ("spec.warmPoolRef", json!({"name": "other"}), "{\"name\":\"other\"}"),
        ("spec.env", env, "[{\"name\":\"A\",\"value\":\"1\"}]"),
        ("spec.volumeClaimTemplates", vct, "[{\"metadata\":{\"name\":\"d\"},\"spec\":{}}]"),
    ] {
        let change = [(field, value)];
        assert_eq!(update(&[], &change), Vec::<String>::new(), "unbound {field}");
        assert_eq!(
            update(bound, &change),
            [format!(
                "{field}: Invalid value: {printed}: field is immutable once the claim is bound"
            )]
        );
    }
    let moved =
        [("spec.warmPoolRef", json!(null)), ("spec.sandboxTemplateRef", json!({"name": "t"}))];
    assert_eq!(update(bound, &moved).len(), 2);
    let mutable = [
        ("spec.lifecycle", json!({"ttlSecondsAfterFinished": 5})),
        ("spec.additionalPodMetadata", json!({"labels": {"a": "b"}})),
    ];
    assert_eq!(update(bound, &mutable), Vec::<String>::new());
}

#[test]
fn the_idempotency_key_never_changes() {
    let key = |key| ("spec.idempotencyKey", json!(key));
    let message = "spec.idempotencyKey: Invalid value: \"b\": field is immutable";
    assert_eq!(update(&[key("a")], &[key("b")]), [message]);
    assert_eq!(update(&[], &[key("b")]), [message]);
    assert_eq!(update(&[key("a")], &[key("a")]), Vec::<String>::new());
}
