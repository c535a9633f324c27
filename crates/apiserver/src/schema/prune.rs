//! Unknown fields, nulls and defaults.
//!
//! The rules are those of `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting}`.

use std::fmt::Write as _;

use serde_json::Value;

use super::tree::{Link, NodeId, Tree};
use crate::meta::Object;

impl Tree {
    pub(super) fn prune(&self, object: &mut Object) -> Vec<String> {
        let mut walk = Prune { tree: self, path: String::new(), removed: Vec::new() };
        walk.object(self.root, &mut object.0);
        walk.removed
    }

    pub(super) fn apply_defaults(&self, object: &mut Object) {
        self.default_object(self.root, &mut object.0);
    }

    fn default_value(&self, node: NodeId, value: &mut Value) {
        match value {
            Value::Object(map) => self.default_object(node, map),
            Value::Array(items) => {
                let Some(link) = &self.nodes[node].items else { return };
                for item in items {
                    fill(link, item);
                    self.default_value(link.node, item);
                }
            }
            _ => {}
        }
    }

    fn default_object(&self, node: NodeId, map: &mut serde_json::Map<String, Value>) {
        let node = &self.nodes[node];
        for (name, link) in &node.properties {
            if let Some(default) = &link.default
                && map.get(name).is_none_or(|value| value.is_null() && !link.nullable)
            {
                map.insert(name.clone(), default.clone());
            }
        }
        for (name, value) in map {
            if let Some(link) = node.properties.get(name).or(node.additional.as_ref()) {
                fill(link, value);
                self.default_value(link.node, value);
            }
        }
    }
}

fn fill(link: &Link, value: &mut Value) {
    if let Some(default) = &link.default
        && value.is_null()
        && !link.nullable
    {
        *value = default.clone();
    }
}

struct Prune<'a> {
    tree: &'a Tree,
    path: String,
    removed: Vec<String>,
}

impl Prune<'_> {
    fn value(&mut self, node: NodeId, value: &mut Value) {
        match value {
            Value::Object(map) => self.object(node, map),
            Value::Array(items) => {
                let node = &self.tree.nodes[node];
                let item_node = match &node.items {
                    Some(link) => link.node,
                    None if node.preserve => return,
                    // A list where none belongs: as in Go, its objects lose all their fields.
                    None => self.tree.closed,
                };
                let length = self.path.len();
                for (index, item) in items.iter_mut().enumerate() {
                    _ = write!(self.path, "[{index}]");
                    self.value(item_node, item);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, node: NodeId, map: &mut serde_json::Map<String, Value>) {
        let node = &self.tree.nodes[node];
        let length = self.path.len();
        map.retain(|name, value| {
            let link = node.properties.get(name).or(node.additional.as_ref());
            if link.is_none() && node.preserve {
                return true;
            }
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(name);
            let keep = match link {
                Some(link) if value.is_null() => link.nullable,
                Some(link) => {
                    self.value(link.node, value);
                    true
                }
                None => {
                    self.removed.push(self.path.clone());
                    false
                }
            };
            self.path.truncate(length);
            keep
        });
    }
}
