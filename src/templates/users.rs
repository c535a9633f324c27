//! Who uses which template: counted as users come and go, never by looking through all of them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use apiserver::meta::ObjectKey;
use sandbox_api::TemplateUsers;

/// What uses templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UserKind {
    WarmPool,
    Claim,
}

/// The users of all templates.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<[Side; 2]>);

/// The users of one kind.
#[derive(Debug, Default)]
struct Side {
    /// All of them have been seen once.
    known: bool,
    template_of: HashMap<ObjectKey, String>,
    counts: HashMap<ObjectKey, i32>,
}

impl Users {
    /// None until all users have been seen.
    pub(super) fn of(&self, template: &ObjectKey) -> Option<TemplateUsers> {
        let sides = self.sides();
        if !sides.iter().all(|side| side.known) {
            return None;
        }
        let count =
            |kind: UserKind| sides[kind as usize].counts.get(template).copied().unwrap_or_default();
        Some(TemplateUsers {
            warm_pools: count(UserKind::WarmPool),
            claims: count(UserKind::Claim),
        })
    }

    /// Everything there is of a kind.
    pub(super) fn replace(
        &self,
        kind: UserKind,
        users: impl Iterator<Item = (ObjectKey, Option<String>)>,
    ) {
        let mut side = Side { known: true, ..Side::default() };
        for (user, template) in users {
            side.set(user, template);
        }
        self.sides()[kind as usize] = side;
    }

    /// A user names this template, or none any more. The templates whose count has changed.
    pub(super) fn set(
        &self,
        kind: UserKind,
        user: ObjectKey,
        template: Option<String>,
    ) -> Vec<ObjectKey> {
        self.sides()[kind as usize].set(user, template)
    }

    fn sides(&self) -> MutexGuard<'_, [Side; 2]> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Side {
    fn set(&mut self, user: ObjectKey, template: Option<String>) -> Vec<ObjectKey> {
        if self.template_of.get(&user) == template.as_ref() {
            return Vec::new();
        }
        let in_its_namespace = |name: String| ObjectKey { namespace: user.namespace.clone(), name };
        let new = template.clone().map(&in_its_namespace);
        let old = match template {
            Some(template) => self.template_of.insert(user.clone(), template),
            None => self.template_of.remove(&user),
        };
        let old = old.map(&in_its_namespace);
        if let Some(key) = &old
            && let Some(count) = self.counts.get_mut(key)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(key);
            }
        }
        if let Some(key) = &new {
            *self.counts.entry(key.clone()).or_default() += 1;
        }
        old.into_iter().chain(new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::namespaced("ns", name)
    }

    #[test]
    fn users_are_counted_once_each_and_only_when_all_are_known() {
        let users = Users::default();
        let counts =
            |template: &str| users.of(&key(template)).map(|users| (users.warm_pools, users.claims));
        users.replace(UserKind::WarmPool, [(key("p"), Some("a".into()))].into_iter());
        assert_eq!(counts("a"), None, "the claims are not known");
        users.replace(UserKind::Claim, std::iter::empty());
        assert_eq!((counts("a"), counts("b")), (Some((1, 0)), Some((0, 0))));
        let set = |user: &str, template: Option<&str>| {
            users.set(UserKind::Claim, key(user), template.map(str::to_owned))
        };
        assert_eq!(set("c", Some("a")), [key("a")]);
        assert_eq!(set("c", Some("a")), [], "told again");
        assert_eq!(set("d", Some("a")), [key("a")]);
        assert_eq!(counts("a"), Some((1, 2)));
        assert_eq!(set("c", Some("b")), [key("a"), key("b")]);
        assert_eq!((counts("a"), counts("b")), (Some((1, 1)), Some((0, 1))));
        assert_eq!(set("c", None), [key("b")]);
        assert_eq!(set("c", None), []);
        assert_eq!(counts("b"), Some((0, 0)));
        let elsewhere = ObjectKey::namespaced("other", "a");
        assert_eq!(users.of(&elsewhere).map(|users| users.warm_pools), Some(0));
    }
}
