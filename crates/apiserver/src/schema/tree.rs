//! The compiled schema: nodes in one vector, so that named types are shared and may contain
//! themselves.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::inline::ref_name;
use super::{OBJECT_META, QUANTITY};

pub(super) type NodeId = usize;

/// A schema ready to be walked together with an object.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// Knows no field at all.
    pub(super) closed: NodeId,
}

/// The way to a child: what the place says beyond the type.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) default: Option<Value>,
    pub(super) nullable: bool,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) types: Types,
    pub(super) format: Format,
    pub(super) properties: HashMap<String, Link>,
    pub(super) additional: Option<Link>,
    pub(super) items: Option<Link>,
    /// Fields that are not named stay.
    pub(super) preserve: bool,
    pub(super) required: Vec<String>,
    pub(super) allowed: Vec<Value>,
    pub(super) limits: Limits,
    pub(super) list: ListType,
    /// Each branch's fields that must be present (with the value of its tag, if any).
    pub(super) one_of: Vec<Branch>,
    pub(super) any_of: Vec<Branch>,
}

#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) minimum: Option<serde_json::Number>,
    pub(super) maximum: Option<serde_json::Number>,
    pub(super) exclusive_minimum: bool,
    pub(super) exclusive_maximum: bool,
    pub(super) min_length: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) min_items: Option<u64>,
    pub(super) max_items: Option<u64>,
    pub(super) min_properties: Option<u64>,
    pub(super) max_properties: Option<u64>,
    pub(super) unique_items: bool,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) required: Vec<String>,
    pub(super) tags: Vec<(String, Value)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Types {
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    /// A string, or any number.
    Quantity,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    #[default]
    None,
    Int32,
    Int64,
    DateTime,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

impl Tree {
    pub(super) fn compile(root: &Value, definitions: &Map<String, Value>) -> Self {
        let mut compiler = Compiler { definitions, nodes: Vec::new(), named: HashMap::new() };
        let root = compiler.link(root).node;
        compiler.relax_metadata(root);
        let closed = compiler.reserve();
        Self { nodes: compiler.nodes, root, closed }
    }
}

struct Compiler<'a> {
    definitions: &'a Map<String, Value>,
    nodes: Vec<Node>,
    named: HashMap<&'a str, NodeId>,
}

impl<'a> Compiler<'a> {
    fn link(&mut self, schema: &'a Value) -> Link {
        let default = schema.get("default").cloned();
        let nullable = schema["nullable"] == true;
        let wrapped = match schema["allOf"].as_array().map(Vec::as_slice) {
            Some([one]) => one,
            _ => schema,
        };
        let node = match wrapped.as_object().and_then(ref_name) {
            Some(name) => self.named(name),
            None => self.fresh(schema),
        };
        Link { node, default, nullable }
    }

    fn named(&mut self, name: &'a str) -> NodeId {
        if let Some(known) = self.named.get(name) {
            return *known;
        }
        let id = self.reserve();
        self.named.insert(name, id);
        let mut node = match self.definitions.get(name) {
            Some(schema) => self.node(schema),
            None => Node { preserve: true, ..Node::default() },
        };
        if name == QUANTITY {
            node.types = Types::Quantity;
        }
        self.nodes[id] = node;
        id
    }

    fn fresh(&mut self, schema: &'a Value) -> NodeId {
        let id = self.reserve();
        self.nodes[id] = self.node(schema);
        id
    }

    fn reserve(&mut self) -> NodeId {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    fn node(&mut self, schema: &'a Value) -> Node {
        // A named type that is only another one's alias, or several parts that could not be
        // merged: everything in them is known.
        let mut node = Node {
            types: types(schema),
            format: format(schema),
            preserve: schema["x-kubernetes-preserve-unknown-fields"] == true,
            required: strings(&schema["required"]),
            allowed: schema["enum"].as_array().cloned().unwrap_or_default(),
            limits: limits(schema),
            list: list_type(schema),
            one_of: branches(&schema["oneOf"]),
            any_of: branches(&schema["anyOf"]),
            ..Node::default()
        };
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let link = self.link(property);
            node.properties.insert(name.clone(), link);
        }
        if let Some(additional) = schema.get("additionalProperties").filter(|it| it.is_object()) {
            node.additional = Some(self.link(additional));
        }
        if let Some(items) = schema.get("items") {
            node.items = Some(self.link(items));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let part = self.link(part).node;
            self.merge(&mut node, part);
        }
        if schema["x-kubernetes-embedded-resource"] == true {
            node.preserve = true;
        }
        node
    }

    /// Adds what a part of an `allOf` says.
    fn merge(&self, node: &mut Node, part: NodeId) {
        let part = &self.nodes[part];
        if node.types == Types::Any {
            node.types = part.types;
        }
        node.preserve |= part.preserve;
        node.required.extend(part.required.iter().cloned());
        for (name, link) in &part.properties {
            node.properties.entry(name.clone()).or_insert_with(|| link.clone());
        }
    }

    /// The object's own metadata has rules of its own (with other texts), so here only its types
    /// count.
    fn relax_metadata(&mut self, root: NodeId) {
        let mut definitions = self.definitions.clone();
        for schema in definitions.values_mut().filter_map(Value::as_object_mut) {
            schema.shift_remove("required");
        }
        let mut relaxed =
            Compiler { definitions: &definitions, nodes: Vec::new(), named: HashMap::new() };
        let top = relaxed.named(OBJECT_META);
        let offset = self.nodes.len();
        let nodes = relaxed.nodes.into_iter().map(|node| shift(node, offset));
        self.nodes.extend(nodes);
        let link = Link { node: top + offset, default: None, nullable: false };
        self.nodes[root].properties.insert("metadata".into(), link);
    }
}

fn shift(mut node: Node, offset: usize) -> Node {
    let links = node.properties.values_mut().chain(&mut node.additional).chain(&mut node.items);
    for link in links {
        link.node += offset;
    }
    node
}

fn types(schema: &Value) -> Types {
    if schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string" {
        return Types::IntOrString;
    }
    match schema["type"].as_str() {
        Some("object") => Types::Object,
        Some("array") => Types::Array,
        Some("string") => Types::String,
        Some("integer") => Types::Integer,
        Some("number") => Types::Number,
        Some("boolean") => Types::Boolean,
        _ if schema["properties"].is_object() || schema["additionalProperties"].is_object() => {
            Types::Object
        }
        _ => Types::Any,
    }
}

fn format(schema: &Value) -> Format {
    match schema["format"].as_str() {
        Some("int32") => Format::Int32,
        Some("int64") => Format::Int64,
        Some("date-time") => Format::DateTime,
        _ => Format::None,
    }
}

fn limits(schema: &Value) -> Limits {
    let number = |member: &str| schema[member].as_number().cloned();
    let count = |member: &str| schema[member].as_u64();
    Limits {
        exclusive_minimum: schema["exclusiveMinimum"] == true,
        exclusive_maximum: schema["exclusiveMaximum"] == true,
        minimum: number("minimum"),
        maximum: number("maximum"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        unique_items: schema["uniqueItems"] == true,
    }
}

fn list_type(schema: &Value) -> ListType {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(strings(&schema["x-kubernetes-list-map-keys"])),
        _ => ListType::Atomic,
    }
}

fn branches(union: &Value) -> Vec<Branch> {
    let branch = |schema: &Value| {
        let tags = schema["properties"].as_object().into_iter().flatten();
        let tags = tags.filter_map(|(name, tag)| Some((name.clone(), tag["enum"].get(0)?.clone())));
        Branch { required: strings(&schema["required"]), tags: tags.collect() }
    };
    let all = union.as_array().into_iter().flatten();
    all.filter(|schema| schema["required"].is_array()).map(branch).collect()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
