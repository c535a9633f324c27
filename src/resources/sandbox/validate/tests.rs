use serde_json::{Value, json};

use crate::resources::tests::{errors, validate_create, validate_update, with};

const POD: &str = "spec.podTemplate.spec";

fn sandbox() -> Value {
    json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "Sandbox",
        "metadata": {"name": "my-sandbox", "namespace": "default", "creationTimestamp": null},
        "spec": {
            "podTemplate": {
                "metadata": {"labels": {"app": "x"}, "annotations": {"example.com/A": "b c"}},
                "spec": {
                    "containers": [{
                        "name": "main",
                        "image": "busybox",
                        "resources": {"limits": {"cpu": 1}},
                        "volumeMounts": [
                            {"name": "tmp", "mountPath": "/tmp"},
                            {"name": "data", "mountPath": "/data"},
                        ],
                    }],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"]},
            }],
            "shutdownTime": "2030-01-02T03:04:05Z",
        },
    })
}

fn create(changes: &[(&str, Value)]) -> Vec<String> {
    errors(&validate_create("sandboxes", &with(&sandbox(), changes)))
}

#[test]
fn good_sandboxes() {
    let pod = |field: &str| format!("{POD}.{field}");
    for changes in [
        vec![],
        vec![("metadata.name", json!("1st"))],
        vec![("spec.service", json!(true))],
        vec![("spec.isolation", json!({"level": "VirtualMachine"}))],
        vec![
            ("spec.isolation", json!({"level": "UserKernel"})),
            (&pod("runtimeClassName"), json!("")),
        ],
        // Standard promises nothing, so any class will do.
        vec![(&pod("runtimeClassName"), json!("gvisor"))],
        vec![
            ("spec.isolation", json!({"level": "Standard"})),
            (&pod("runtimeClassName"), json!("kata")),
        ],
        vec![(&pod("restartPolicy"), json!("Never"))],
        vec![(&pod("initContainers"), json!([{"name": "init", "image": "busybox"}]))],
        // A volume claim template replaces a volume of the same name.
        vec![(&pod("volumes"), json!([{"name": "tmp"}, {"name": "data"}]))],
    ] {
        assert_eq!(create(&changes), Vec::<String>::new(), "{changes:?}");
    }
}

#[test]
fn bad_pods() {
    for (field, value, expected) in [
        ("containers", json!(null), vec!["containers: Required value"]),
        ("containers", json!([]), vec!["containers: Required value"]),
        (
            "containers",
            json!([{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]),
            vec!["containers[1].name: Duplicate value: \"a\""],
        ),
        (
            "initContainers",
            json!([{"name": "main", "image": "x"}]),
            vec!["initContainers[0].name: Duplicate value: \"main\""],
        ),
        (
            "containers",
            json!([{"name": ""}]),
            vec!["containers[0].name: Required value", "containers[0].image: Required value"],
        ),
        (
            "containers",
            json!([{"name": "a", "image": "x", "volumeMounts": [
                {"name": "nope", "mountPath": "/a"}, {"name": "", "mountPath": "/b"},
            ]}]),
            vec![
                "containers[0].volumeMounts[0].name: Not found: \"nope\"",
                "containers[0].volumeMounts[1].name: Required value",
            ],
        ),
        (
            "volumes",
            json!([{"name": "tmp"}, {"name": "tmp"}]),
            vec!["volumes[1].name: Duplicate value: \"tmp\""],
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|text| format!("{POD}.{text}")).collect();
        assert_eq!(create(&[(&format!("{POD}.{field}"), value.clone())]), expected, "{value}");
    }
    let got = create(&[(&format!("{POD}.containers"), json!([{"name": "A_b", "image": "x"}]))]);
    let expected =
        format!("{POD}.containers[0].name: Invalid value: \"A_b\": a lowercase RFC 1123");
    assert!(got[0].starts_with(&expected), "{got:?}");
}

#[test]
fn a_level_forbids_a_runtime_class() {
    for level in ["UserKernel", "VirtualMachine"] {
        let got = create(&[
            ("spec.isolation", json!({"level": level})),
            (&format!("{POD}.runtimeClassName"), json!("runc")),
        ]);
        assert_eq!(
            got,
            [format!(
                "{POD}.runtimeClassName: Forbidden: may not be set when `isolation.level` is \
                 `{level}`"
            )]
        );
    }
}

#[test]
fn bad_volume_claim_templates() {
    let field = "spec.volumeClaimTemplates";
    let pvc = json!({"accessModes": ["ReadWriteOnce"]});
    let data = json!({"metadata": {"name": "data"}, "spec": pvc});
    for (templates, expected) in [
        (json!([data, {"spec": pvc}]), "[1].metadata.name: Required value"),
        (
            json!([data, {"metadata": {"name": ""}, "spec": pvc}]),
            "[1].metadata.name: Required value",
        ),
        (json!([data, data]), "[1].metadata.name: Duplicate value: \"data\""),
    ] {
        assert_eq!(create(&[(field, templates)]), [format!("{field}{expected}")]);
    }
    let dotted = json!([data, {"metadata": {"name": "a.b"}, "spec": pvc}]);
    let got = create(&[(field, dotted)]);
    let expected = format!("{field}[1].metadata.name: Invalid value: \"a.b\": a lowercase");
    assert!(got[0].starts_with(&expected), "{got:?}");
}

#[test]
fn bad_names_labels_and_times() {
    for (changes, expected) in [
        (
            vec![("metadata.name", json!("a.b"))],
            "metadata.name: Invalid value: \"a.b\": a lowercase",
        ),
        (
            vec![("metadata.name", json!("a".repeat(64)))],
            "metadata.name: Invalid value: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
             aaaaaaa\": must be no more than 63 characters",
        ),
        (
            vec![("metadata.name", json!("1a")), ("spec.service", json!(true))],
            "metadata.name: Invalid value: \"1a\": a DNS-1035 label",
        ),
        (
            vec![("spec.podTemplate.metadata", json!({"labels": {"-x": "y"}}))],
            "spec.podTemplate.metadata.labels: Invalid value: \"-x\": name part must",
        ),
        (
            vec![("spec.podTemplate.metadata", json!({"labels": {"x": "y z"}}))],
            "spec.podTemplate.metadata.labels: Invalid value: \"y z\": a valid label",
        ),
        (
            vec![("spec.podTemplate.metadata", json!({"annotations": {"a/b/c": ""}}))],
            "spec.podTemplate.metadata.annotations: Invalid value: \"a/b/c\": a qualified name",
        ),
        (
            vec![("spec.shutdownTime", json!("tomorrow"))],
            "spec.shutdownTime: Invalid value: \"tomorrow\": must be a date-time",
        ),
        (
            vec![("spec.operatingMode", json!("Paused"))],
            "spec: Invalid value: \"object\": unknown variant `Paused`",
        ),
    ] {
        let got = create(&changes);
        assert_eq!(got.len(), 1, "{got:?}");
        assert!(got[0].starts_with(expected), "{got:?}");
    }
}

#[test]
fn reserved_keys_are_warned_about() {
    let metadata = json!({
        "labels": {"sandbox.x-k8s.io/claim-uid": "x", "app": "y"},
        "annotations": {"opentelemetry.io/trace-context": "x"},
    });
    let got =
        validate_create("sandboxes", &with(&sandbox(), &[("spec.podTemplate.metadata", metadata)]));
    assert_eq!(errors(&got), Vec::<String>::new());
    assert_eq!(
        got.warnings,
        [
            "spec.podTemplate.metadata.labels[sandbox.x-k8s.io/claim-uid]: reserved, not set on the \
             Pod",
            "spec.podTemplate.metadata.annotations[opentelemetry.io/trace-context]: reserved, not \
             set on the Pod",
        ]
    );
}

fn update(old: &[(&str, Value)], new: &[(&str, Value)]) -> Vec<String> {
    let (old, new) = (with(&sandbox(), old), with(&sandbox(), new));
    errors(&validate_update("sandboxes", &new, &old))
}

#[test]
fn volume_claim_templates_are_immutable() {
    let field = "spec.volumeClaimTemplates";
    let message = "spec.volumeClaimTemplates: Forbidden: volumeClaimTemplates is immutable";
    let other = json!([
        {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteMany"]}},
    ]);
    let no_mount = (format!("{POD}.containers"), json!([{"name": "main", "image": "x"}]));
    let no_mount = (no_mount.0.as_str(), no_mount.1);
    let unset = [(field, json!(null)), no_mount];
    assert_eq!(update(&[], &[(field, other)]), [message]);
    assert_eq!(update(&unset, &[]), [message]);
    assert_eq!(update(&[], &unset), [message]);
    assert_eq!(update(&[], &[]), Vec::<String>::new());
    assert_eq!(update(&unset, &unset), Vec::<String>::new());
}

#[test]
fn the_level_changes_only_without_a_pod() {
    let level = |level| ("spec.isolation", json!({"level": level}));
    let phase = |phase| ("status", json!({"phase": phase}));
    let message =
        "spec.isolation.level: Forbidden: may only be changed while the Sandbox is suspended";
    assert_eq!(update(&[], &[level("VirtualMachine")]), [message]);
    assert_eq!(update(&[phase("Suspending")], &[level("UserKernel")]), [message]);
    assert_eq!(update(&[level("UserKernel"), phase("Running")], &[]), [message]);
    assert_eq!(update(&[phase("Suspended")], &[level("UserKernel")]), Vec::<String>::new());
    // Said or left out, Standard is Standard.
    assert_eq!(update(&[], &[level("Standard")]), Vec::<String>::new());
}

#[test]
fn the_rest_is_mutable() {
    let new = [
        ("spec.operatingMode", json!("Suspended")),
        ("spec.service", json!(false)),
        ("spec.shutdownTime", json!(null)),
        ("spec.podTemplate.metadata", json!({})),
    ];
    assert_eq!(update(&[], &new), Vec::<String>::new());
}
