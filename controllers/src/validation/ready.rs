//! Policies that are ready, so that each is made ready once. Bounded by what they take, in all and for each namespace: whoever
//! has many of them makes only their own anew.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trimtab_crds::ConfigPolicySpec;
use trimtab_validate::{BadRule, Compiled, compile};

use crate::memory::{Bounds, Memory};

/// What all of them may take, in bytes, about.
pub(crate) const ALL: usize = 32 << 20;
/// What those of one namespace may take.
pub(crate) const OF_A_NAMESPACE: usize = 8 << 20;
/// What one takes at least, with its name and the rules that are wrong in it.
const LEAST: usize = 8 << 10;

/// A policy that is ready, or the rules that keep it from being so.
type Made = Result<Compiled, Arc<[BadRule]>>;

/// What a policy is known by: two sums with keys of this process, since a whole policy can be long.
type Id = (u64, u64);

/// What became of policies.
pub(super) struct Ready {
    keys: (RandomState, RandomState),
    kept: Mutex<Memory<Id, Made>>,
}

impl Default for Ready {
    fn default() -> Self {
        let bounds = Bounds { of_a_namespace: OF_A_NAMESPACE, all: ALL, unused: None };
        Self { keys: Default::default(), kept: Mutex::new(Memory::new(bounds)) }
    }
}

impl Ready {
    /// A policy, made ready once; what has to be done for it may take so long.
    pub(super) fn compiled(&self, namespace: &str, spec: &ConfigPolicySpec, deadline: Duration) -> Made {
        let text = serde_json::to_string(spec).unwrap_or_default();
        let id = (self.keys.0.hash_one(&text), self.keys.1.hash_one(&text));
        if let Some(known) = self.known(namespace, id) {
            return known;
        }
        let made: Made = compile(spec, deadline).map_err(Arc::from);
        if made.as_ref().is_err_and(|bad| !bad.iter().all(BadRule::is_lasting)) {
            return made;
        }
        let size = made.as_ref().map_or(0, Compiled::size).max(LEAST);
        self.kept().put(Instant::now(), namespace, id, made.clone(), size);
        made
    }

    fn known(&self, namespace: &str, id: Id) -> Option<Made> {
        let mut kept = self.kept();
        kept.touch(Instant::now(), namespace, &id);
        kept.get(namespace, &id).cloned()
    }

    fn kept(&self) -> MutexGuard<'_, Memory<Id, Made>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A policy that takes most of what a namespace may keep.
    fn spec(number: usize) -> ConfigPolicySpec {
        let named: serde_json::Map<String, serde_json::Value> =
            (0..100).map(|name| (format!("p{name}"), json!({"pattern": "^a$"}))).collect();
        let rule = json!({"name": format!("r{number}"), "format": "Json", "schema": {"properties": named}});
        serde_json::from_value(json!({ "rules": [rule] })).unwrap()
    }

    fn same(one: &Made, other: &Made) -> bool {
        one.as_ref().is_ok_and(|one| other.as_ref().is_ok_and(|other| one.is(other)))
    }

    #[test]
    fn a_policy_is_made_once_and_many_of_them_push_out_only_their_own_namespace_s() {
        let ready = Ready::default();
        let made = |namespace: &str, number| ready.compiled(namespace, &spec(number), Duration::from_secs(20));
        let (calm, first) = (made("calm", 1), made("crowd", 1));
        assert!(same(&first, &made("crowd", 1)) && !same(&calm, &first), "each namespace has its own");
        made("crowd", 2).unwrap();
        assert!(!same(&first, &made("crowd", 1)), "it was pushed out");
        assert!(same(&calm, &made("calm", 1)), "another namespace's was not");
        let of_crowd = ready.kept().of("crowd").map(|(_, made)| made.as_ref().map_or(0, Compiled::size)).sum::<usize>();
        assert!(of_crowd <= OF_A_NAMESPACE && of_crowd > 0, "{of_crowd}");
    }
}
