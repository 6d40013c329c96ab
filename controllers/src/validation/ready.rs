//! Policies that are ready, so that each is made ready once. Bounded by what they take, in all and for each namespace: whoever
//! has many of them makes only their own anew.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use trimtab_crds::ConfigPolicySpec;
use trimtab_validate::{BadRule, Compiled, compile};

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

struct Kept {
    id: Id,
    size: usize,
    made: Made,
}

/// What became of policies.
#[derive(Default)]
pub(super) struct Ready {
    keys: (RandomState, RandomState),
    /// By namespace, those that were used last at the end.
    kept: Mutex<HashMap<String, Vec<Kept>>>,
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
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(namespace.to_owned()).or_default();
        own.push(Kept { id, size, made: made.clone() });
        while own.len() > 1 && taken(own) > OF_A_NAMESPACE {
            own.remove(0);
        }
        while all.values().map(|own| taken(own)).sum::<usize>() > ALL {
            let Some(own) = all.values_mut().max_by_key(|own| taken(own)) else { break };
            own.remove(0);
        }
        all.retain(|_, own| !own.is_empty());
        made
    }

    fn known(&self, namespace: &str, id: Id) -> Option<Made> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get_mut(namespace)?;
        let at = own.iter().position(|kept| kept.id == id)?;
        let kept = own.remove(at);
        let made = kept.made.clone();
        own.push(kept);
        Some(made)
    }
}

fn taken(kept: &[Kept]) -> usize {
    kept.iter().map(|kept| kept.size).sum()
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
        let kept = ready.kept.lock().unwrap();
        assert!(taken(&kept["crowd"]) <= OF_A_NAMESPACE);
    }
}
