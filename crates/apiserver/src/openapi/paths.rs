//! The operations of every path, derived from the table of resources.
//!
//! Source: `registerResourceHandlers` in `k8s.io/apiserver/pkg/endpoints/installer.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::{Map, Value, json};

use super::components::{Components, META, gvk_value};
use super::{names, parameters};
use crate::meta::Gvk;
use crate::resource::{ActionDef, ConnectDef, ResourceDef, Subresource};
use crate::schema::{collect, reference};

/// All paths below `/apis/<group>/<version>/`.
pub(super) fn resources(defs: &[&ResourceDef], components: &Components) -> Map<String, Value> {
    let mut paths = Map::new();
    if let Some(first) = defs.first() {
        let gvk = &first.gvk;
        let id = format!("{}APIResources", names::operation_id("get", gvk, ""));
        let schema = reference(&format!("{META}.APIResourceList"));
        let get = discovery(&id, "get available resources", &names::tag(gvk), &schema);
        paths.insert(format!("/apis/{}/", gvk.api_version()), json!({"get": get}));
    }
    for def in defs {
        Resource { def, components }.add_to(&mut paths);
    }
    paths
}

/// The document of `/apis/`.
pub(super) fn group_list() -> (Map<String, Value>, Map<String, Value>) {
    let mut schemas = Map::new();
    let name = collect::<meta::APIGroupList>(&mut schemas);
    let get = discovery("getAPIVersions", "get available API versions", "apis", &reference(&name));
    (one_path("/apis/", &get), schemas)
}

/// The document of `/apis/<group>/`.
pub(super) fn group(group: &str) -> (Map<String, Value>, Map<String, Value>) {
    let mut schemas = Map::new();
    let name = collect::<meta::APIGroup>(&mut schemas);
    let tag = names::group_tag(group);
    let id = format!("get{}APIGroup", names::camel(&tag, true));
    let get = discovery(&id, "get information of a group", &tag, &reference(&name));
    (one_path(&format!("/apis/{group}/"), &get), schemas)
}

/// The document of `/version/`.
pub(super) fn version() -> (Map<String, Value>, Map<String, Value>) {
    let mut schemas = Map::new();
    let name = collect::<k8s_openapi::apimachinery::pkg::version::Info>(&mut schemas);
    let what = "get the version information for this server";
    let get = discovery("getCodeVersion", what, "version", &reference(&name));
    (one_path("/version/", &get), schemas)
}

fn one_path(path: &str, get: &Value) -> Map<String, Value> {
    Map::from_iter([(path.to_owned(), json!({"get": get}))])
}

fn discovery(id: &str, description: &str, tag: &str, schema: &Value) -> Value {
    json!({
        "description": description,
        "operationId": id,
        "tags": [tag],
        "responses": responses(&[200], schema),
    })
}

struct Resource<'a> {
    def: &'a ResourceDef,
    components: &'a Components,
}

/// What differs between the operations of a path.
struct Operation<'a> {
    verb: &'a str,
    action: &'a str,
    /// The operation's name after verb, group and version.
    rest: String,
    description: String,
    gvk: &'a Gvk,
    parameters: Vec<Value>,
    body: Option<Value>,
    codes: &'a [u16],
    answer: Value,
}

impl Resource<'_> {
    fn add_to(&self, paths: &mut Map<String, Value>) {
        let Gvk { kind, .. } = &self.def.gvk;
        let base = format!("/apis/{}", self.def.gvk.api_version());
        let plural = self.def.plural;
        let collection = if self.def.namespaced {
            let rest = format!("{kind}ForAllNamespaces");
            let item = vec![("get", self.list(rest))];
            self.add(paths, format!("{base}/{plural}"), item);
            format!("{base}/namespaces/{{namespace}}/{plural}")
        } else {
            format!("{base}/{plural}")
        };
        let operations = vec![
            ("get", self.list(self.scoped())),
            ("post", self.create()),
            ("delete", self.delete_collection()),
        ];
        self.add(paths, collection.clone(), operations);
        let object = format!("{collection}/{{name}}");
        let mut operations = self.read_and_write("", &self.def.gvk);
        operations.push(("delete", self.delete()));
        self.add(paths, object.clone(), operations);
        for sub in &self.def.subresources {
            let operations = match sub {
                Subresource::Status => self.read_and_write("status", &self.def.gvk),
                Subresource::Scale { .. } => {
                    self.read_and_write("scale", &Gvk::new("autoscaling", "v1", "Scale"))
                }
                Subresource::Action(action) => vec![("post", self.action(action))],
                Subresource::Connect(connect) => self.streams(connect, ""),
            };
            let path = format!("{object}/{}", sub.name());
            if let Subresource::Connect(connect) = sub
                && connect.takes_path
            {
                let operations = self.streams(connect, "WithPath");
                self.add(paths, format!("{path}/{{path}}"), operations);
            }
            self.add(paths, path, operations);
        }
    }

    fn add(&self, paths: &mut Map<String, Value>, path: String, all: Vec<(&str, Value)>) {
        let mut item = Map::new();
        item.insert("parameters".into(), parameters::of_path(&path, &self.def.gvk.kind));
        item.extend(all.into_iter().map(|(method, operation)| (method.to_owned(), operation)));
        paths.insert(path, item.into());
    }

    /// `NamespacedSandbox`, or `Node` for a cluster-scoped kind.
    fn scoped(&self) -> String {
        let prefix = if self.def.namespaced { "Namespaced" } else { "" };
        format!("{prefix}{}", self.def.gvk.kind)
    }

    fn operation(&self, operation: Operation<'_>) -> Value {
        let id = names::operation_id(operation.verb, &self.def.gvk, &operation.rest);
        let mut value = json!({
            "description": operation.description,
            "operationId": id,
            "tags": [names::tag(&self.def.gvk)],
            "parameters": operation.parameters,
            "responses": responses(operation.codes, &operation.answer),
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": gvk_value(operation.gvk),
        });
        if let (Some(value), Some(body)) = (value.as_object_mut(), operation.body) {
            value.insert("requestBody".into(), body);
        }
        value
    }

    fn list(&self, rest: String) -> Value {
        let gvk = &self.def.gvk;
        let list = Gvk::new(&gvk.group, &gvk.version, &self.def.list_kind());
        let mut value = self.operation(Operation {
            verb: "list",
            action: "list",
            rest,
            description: format!("list or watch objects of kind {}", gvk.kind),
            gvk,
            parameters: parameters::list(),
            body: None,
            codes: &[200],
            answer: self.components.kind(&list),
        });
        if let Some(Value::Object(content)) = value.pointer_mut("/responses/200/content") {
            let schema = json!({"schema": self.components.kind(&list)});
            content.insert("application/json;stream=watch".into(), schema);
        }
        value
    }

    fn create(&self) -> Value {
        let kind = self.components.kind(&self.def.gvk);
        self.operation(Operation {
            verb: "create",
            action: "post",
            rest: self.scoped(),
            description: format!("create a {}", self.def.gvk.kind),
            gvk: &self.def.gvk,
            parameters: parameters::create(),
            body: Some(body(&kind, true)),
            codes: &[200, 201, 202],
            answer: kind,
        })
    }

    fn delete(&self) -> Value {
        self.operation(Operation {
            verb: "delete",
            action: "delete",
            rest: self.scoped(),
            description: format!("delete a {}", self.def.gvk.kind),
            gvk: &self.def.gvk,
            parameters: parameters::delete(),
            body: Some(body(&reference(&format!("{META}.DeleteOptions")), false)),
            codes: &[200, 202],
            answer: reference(&format!("{META}.Status")),
        })
    }

    fn delete_collection(&self) -> Value {
        self.operation(Operation {
            verb: "delete",
            action: "deletecollection",
            rest: format!("Collection{}", self.scoped()),
            description: format!("delete collection of {}", self.def.gvk.kind),
            gvk: &self.def.gvk,
            parameters: parameters::delete_collection(),
            body: Some(body(&reference(&format!("{META}.DeleteOptions")), false)),
            codes: &[200],
            answer: reference(&format!("{META}.Status")),
        })
    }

    /// get, put and patch of the object itself (`sub` is empty) or of a subresource.
    fn read_and_write(&self, sub: &str, gvk: &Gvk) -> Vec<(&'static str, Value)> {
        let kind = &self.def.gvk.kind;
        let what = if sub.is_empty() { String::new() } else { format!("{sub} of ") };
        let rest = format!("{}{}", self.scoped(), names::camel(sub, true));
        let schema = self.components.kind(gvk);
        let operation = |verb, action, description, parameters, body, codes| {
            self.operation(Operation {
                verb,
                action,
                rest: rest.clone(),
                description: format!("{description} {what}the specified {kind}"),
                gvk,
                parameters,
                body,
                codes,
                answer: schema.clone(),
            })
        };
        let (create, patch) = (parameters::create(), parameters::patch());
        vec![
            ("get", operation("read", "get", "read", Vec::new(), None, &[200])),
            ("put", {
                let body = Some(body(&schema, true));
                operation("replace", "put", "replace", create, body, &[200, 201])
            }),
            ("patch", {
                let body = Some(patch_body());
                operation("patch", "patch", "partially update", patch, body, &[200, 201])
            }),
        ]
    }

    fn action(&self, action: &ActionDef) -> Value {
        let query = |(name, text): &(&str, &str)| parameters::query(name, "string", text);
        let mut parameters: Vec<Value> = parameters::create();
        let own = action.parameters.iter().map(query);
        parameters.extend(own.filter(|it| !WRITE_NAMES.iter().any(|name| it["name"] == *name)));
        let (name, kind) = (action.name, &self.def.gvk.kind);
        self.operation(Operation {
            verb: "create",
            action: "post",
            rest: format!("{}{}", self.scoped(), names::camel(name, true)),
            description: format!("create {name} of a {kind}"),
            gvk: &action.input,
            parameters,
            body: Some(body(&self.components.kind(&action.input), false)),
            codes: &[200, 201, 202],
            answer: self.components.kind(&action.output),
        })
    }

    /// One operation a method, as Kubernetes documents its own: any media type, a string.
    fn streams(&self, connect: &ConnectDef, suffix: &str) -> Vec<(&'static str, Value)> {
        let (name, kind) = (connect.name, &self.def.gvk.kind);
        let rest = format!("{}{}{suffix}", self.scoped(), names::camel(name, true));
        let query = |(name, text): &(&str, &str)| parameters::query(name, "string", text);
        let one = |method: &(&'static str, &'static str, &'static str)| {
            let (method, word, _) = *method;
            let mut operation = self.operation(Operation {
                verb: word,
                action: "connect",
                rest: rest.clone(),
                description: format!(
                    "connect {} requests to {name} of {kind}",
                    method.to_uppercase()
                ),
                gvk: &connect.options,
                parameters: connect.parameters.iter().map(query).collect(),
                body: None,
                codes: &[200],
                answer: json!({"type": "string"}),
            });
            operation["responses"]["200"]["content"] =
                json!({"*/*": {"schema": {"type": "string"}}});
            (method, operation)
        };
        METHODS.iter().filter(|row| connect.methods.contains(&row.2)).map(one).collect()
    }
}

/// Methods of streams: in OpenAPI, in an operation's name, in HTTP.
const METHODS: &[(&str, &str, &str)] = &[
    ("get", "connectGet", "GET"),
    ("put", "connectPut", "PUT"),
    ("post", "connectPost", "POST"),
    ("patch", "connectPatch", "PATCH"),
    ("delete", "connectDelete", "DELETE"),
];

const WRITE_NAMES: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];

fn body(schema: &Value, required: bool) -> Value {
    let mut body = json!({"content": {"*/*": {"schema": schema}}});
    if required {
        body["required"] = true.into();
    }
    body
}

/// Clients choose their patch type from this list; only what is served may stand here.
fn patch_body() -> Value {
    let schema = reference(&format!("{META}.Patch"));
    json!({
        "content": {
            "application/json-patch+json": {"schema": schema},
            "application/merge-patch+json": {"schema": schema},
        },
        "required": true,
    })
}

fn responses(codes: &[u16], schema: &Value) -> Value {
    let mut responses = Map::new();
    for code in codes {
        let description = match code {
            201 => "Created",
            202 => "Accepted",
            _ => "OK",
        };
        let response = json!({
            "description": description,
            "content": {
                "application/json": {"schema": schema},
                "application/yaml": {"schema": schema},
            },
        });
        responses.insert(code.to_string(), response);
    }
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    responses.into()
}
