use super::*;

fn policy(rules: &str) -> Result<Policy, PolicyError> {
    Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}"))
}

fn alice() -> User {
    User { name: "alice".into(), groups: vec!["dev".into(), "ops".into()], ..User::default() }
}

/// `VERB GROUP RESOURCE[/SUB] NAMESPACE NAME`, `-` for none, or `VERB /PATH`.
fn asked(text: &str) -> Attributes {
    let words: Vec<String> =
        text.split(' ').map(|word| if word == "-" { "" } else { word }.to_owned()).collect();
    let verb = words[0].clone();
    if words.len() == 2 {
        return Attributes::NonResource { verb, path: words[1].clone() };
    }
    let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2].as_str(), ""));
    Attributes::Resource {
        verb,
        group: words[1].clone(),
        version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: words[3].clone(),
        name: words[4].clone(),
    }
}

#[test]
fn a_rule_matches_what_it_names() {
    // the rule besides its level, the request of alice in dev and ops, whether it matches
    let table = [
        ("", "get g.io things ns a", true),
        ("", "get /healthz", true),
        ("users: [alice]", "get /healthz", true),
        ("users: [bob]", "get /healthz", false),
        ("userGroups: [x, ops]", "get /healthz", true),
        ("userGroups: [x]", "get /healthz", false),
        ("users: [alice], userGroups: [x]", "get /healthz", false),
        ("verbs: [list, watch]", "watch g.io things ns -", true),
        ("verbs: [list, watch]", "get g.io things ns a", false),
        ("namespaces: [ns]", "get g.io things ns a", true),
        ("namespaces: [ns]", "get g.io things other a", false),
        ("namespaces: ['']", "list g.io things - -", true),
        ("namespaces: ['']", "get /healthz", false),
        ("resources: [{group: g.io}]", "get g.io things/exec ns a", true),
        ("resources: [{group: h.io}]", "get g.io things ns a", false),
        ("resources: [{group: ''}]", "get g.io things ns a", false),
        ("resources: [{group: '*'}]", "get g.io things ns a", true),
        ("resources: [{group: '*'}]", "get /healthz", false),
        ("resources: [{group: g.io, resources: [things]}]", "get g.io things ns a", true),
        ("resources: [{group: g.io, resources: [things]}]", "get g.io things/exec ns a", false),
        ("resources: [{group: g.io, resources: [things/exec]}]", "get g.io things/exec ns a", true),
        ("resources: [{group: g.io, resources: [things/exec]}]", "get g.io things/log ns a", false),
        ("resources: [{group: g.io, resources: [things/exec]}]", "get g.io things ns a", false),
        ("resources: [{group: g.io, resources: ['*/exec']}]", "get g.io things/exec ns a", true),
        ("resources: [{group: g.io, resources: ['*/exec']}]", "get g.io things ns a", false),
        ("resources: [{group: g.io, resources: ['things/*']}]", "get g.io things/log ns a", true),
        ("resources: [{group: g.io, resources: ['things/*']}]", "get g.io things ns a", true),
        ("resources: [{group: g.io, resources: ['things/*']}]", "get g.io others/log ns a", false),
        ("resources: [{group: g.io, resources: ['*/*']}]", "get g.io things/log ns a", false),
        ("resources: [{group: g.io, resources: ['*']}]", "get g.io things/log ns a", true),
        (
            "resources: [{group: g.io, resources: ['*'], resourceNames: [a]}]",
            "get g.io things ns a",
            true,
        ),
        (
            "resources: [{group: g.io, resources: ['*'], resourceNames: [a]}]",
            "get g.io things ns b",
            false,
        ),
        ("nonResourceURLs: [/healthz]", "get /healthz", true),
        ("nonResourceURLs: [/healthz]", "get /healthz/etcd", false),
        ("nonResourceURLs: ['/healthz*']", "get /healthz/etcd", true),
        ("nonResourceURLs: ['*']", "get /healthz", true),
        ("nonResourceURLs: ['*']", "get g.io things ns a", false),
    ];
    for (rule, request, expected) in table {
        let comma = if rule.is_empty() { "" } else { ", " };
        let policy = policy(&format!("rules: [{{level: Metadata{comma}{rule}}}]")).unwrap();
        let level = policy.recording(Some(&alice()), &asked(request)).level;
        assert_eq!(level == Level::Metadata, expected, "{rule:?} {request:?}");
    }
}

#[test]
fn who_is_unknown_is_matched_only_by_rules_about_nobody() {
    let text = "rules: [{level: Request, users: [alice]}, {level: Request, userGroups: [dev]}]";
    let named = policy(text).unwrap().recording(None, &asked("get /apis"));
    assert_eq!(named.level, Level::None);
    let all = policy("rules: [{level: Metadata}]").unwrap().recording(None, &asked("get /apis"));
    assert_eq!(all.level, Level::Metadata);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let text = "
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, verbs: [watch]}
- {level: RequestResponse, verbs: [create], omitStages: [Panic], omitManagedFields: false}
- {level: Request, verbs: [create, update]}
";
    let policy = policy(text).unwrap();
    let of =
        |verb: &str| policy.recording(Some(&alice()), &asked(&format!("{verb} g.io things ns a")));
    assert!(!of("watch").wants(Stage::ResponseComplete));
    let create = of("create");
    assert_eq!((create.level, create.omit_managed_fields), (Level::RequestResponse, false));
    assert!(!create.wants(Stage::RequestReceived) && !create.wants(Stage::Panic));
    assert!(create.wants(Stage::ResponseStarted) && create.wants(Stage::ResponseComplete));
    let update = of("update");
    assert_eq!((update.level, update.omit_managed_fields), (Level::Request, true));
    assert!(update.wants(Stage::Panic));
    assert_eq!(of("get").level, Level::None);
}

#[test]
fn without_a_file_all_is_recorded_without_bodies() {
    for request in ["get /apis", "create g.io things/exec ns a"] {
        let recording = Policy::metadata().recording(None, &asked(request));
        assert_eq!(recording.level, Level::Metadata);
        assert!(!recording.wants(Stage::RequestReceived));
        assert!(recording.wants(Stage::ResponseStarted));
        assert!(recording.wants(Stage::ResponseComplete));
    }
}

#[test]
fn a_file_with_a_mistake_is_refused() {
    let table = [
        ("rules: []", "rules: at least one"),
        ("", "rules: at least one"),
        ("rules: [{users: [a]}]", "level"),
        ("rules: [{level: metadata}]", "metadata"),
        ("rules: [{level: Metadata, user: [a]}]", "user"),
        ("rules: [{level: Metadata}]\nomitStages: [Received]", "Received"),
        ("rules: [{level: Metadata, namespaces: [a], nonResourceURLs: ['*']}]", "both"),
        ("rules: [{level: Metadata, nonResourceURLs: [healthz]}]", "rules[0].nonResourceURLs[0]"),
        ("rules: [{level: Metadata, nonResourceURLs: ['/a*b']}]", "last character"),
        (
            "rules: [{level: Metadata, resources: [{group: g.io/v1}]}]",
            "rules[0].resources[0].group",
        ),
        ("rules: [{level: Metadata, resources: [{resourceNames: [a]}]}]", "resourceNames"),
    ];
    for (rules, expected) in table {
        let error = policy(rules).unwrap_err().to_string();
        assert!(error.contains(expected), "{rules:?} gave {error:?}");
    }
    for head in ["apiVersion: audit.k8s.io/v1beta1\nkind: Policy", "kind: Policy", "{}"] {
        let error = Policy::parse(&format!("{head}\nrules: [{{level: Metadata}}]")).unwrap_err();
        let other =
            Policy::parse("apiVersion: audit.k8s.io/v1\nkind: Event\nrules: [{level: None}]");
        assert!(matches!(error, PolicyError::Version(..) | PolicyError::Decode(_)), "{error}");
        assert!(matches!(other, Err(PolicyError::Version(..))));
    }
}
