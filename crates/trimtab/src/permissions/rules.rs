//! Permissions as RBAC rules: merged, without repetition, always in the same order, so that a role that is generated from
//! them changes only when they do. Not who gets them, nor where.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::Permission;

/// The order in which people write verbs; others follow by the alphabet.
const ORDER: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// A set of single permissions: one verb on one resource each.
///
/// ```
/// use trimtab::{Grants, Permission};
///
/// let writes = Permission { group: "apps", resource: "deployments", verbs: &["patch", "get"] };
/// let rules = Grants::of(&[writes]).rules();
/// assert_eq!(rules[0].verbs, ["get", "patch"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(BTreeSet<(&'static str, &'static str, &'static str)>);

impl Grants {
    /// The permissions, each verb by itself.
    pub fn of(permissions: &[Permission]) -> Self {
        let single = |one: &Permission| {
            let (group, resource) = (one.group, one.resource);
            one.verbs.iter().map(move |verb| (group, resource, *verb)).collect::<Vec<_>>()
        };
        Self(permissions.iter().flat_map(single).collect())
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// What is in either.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Group, resource and verb of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> + '_ {
        self.0.iter().copied()
    }

    /// The rules that grant exactly this: each resource once, those of a group with the same verbs together.
    pub fn rules(&self) -> Vec<PolicyRule> {
        let mut verbs: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (group, resource, verb) in self.iter() {
            verbs.entry((group, resource)).or_default().push(verb);
        }
        let mut together: BTreeMap<(&str, Vec<&str>), Vec<&str>> = BTreeMap::new();
        for ((group, resource), mut verbs) in verbs {
            verbs.sort_by_key(|verb| (ORDER.iter().position(|other| other == verb).unwrap_or(ORDER.len()), *verb));
            together.entry((group, verbs)).or_default().push(resource);
        }
        let mut rules: Vec<PolicyRule> = together
            .into_iter()
            .map(|((group, verbs), resources)| PolicyRule {
                api_groups: Some(vec![group.to_owned()]),
                resources: Some(owned(resources)),
                verbs: owned(verbs),
                ..PolicyRule::default()
            })
            .collect();
        rules.sort_by(|a, b| (&a.api_groups, &a.resources).cmp(&(&b.api_groups, &b.resources)));
        rules
    }

    /// The same for one object, as far as RBAC can tell objects apart: who may create may create any.
    pub fn rules_for(&self, name: &str) -> Vec<PolicyRule> {
        let (create, named): (BTreeSet<_>, BTreeSet<_>) = self.0.iter().copied().partition(|one| one.2 == "create");
        let mut rules = Self(create).rules();
        rules.extend(
            Self(named)
                .rules()
                .into_iter()
                .map(|rule| PolicyRule { resource_names: Some(vec![name.to_owned()]), ..rule }),
        );
        rules
    }
}

impl FromIterator<(&'static str, &'static str, &'static str)> for Grants {
    fn from_iter<I: IntoIterator<Item = (&'static str, &'static str, &'static str)>>(single: I) -> Self {
        Self(single.into_iter().collect())
    }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rules: &[PolicyRule]) -> Vec<String> {
        let list = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default().join(",");
        let show = |rule: &PolicyRule| {
            let (groups, resources, names) =
                (list(&rule.api_groups), list(&rule.resources), list(&rule.resource_names));
            format!("{groups}/{resources}[{names}]: {}", rule.verbs.join(","))
        };
        rules.iter().map(show).collect()
    }

    const PERMISSIONS: [Permission; 5] = [
        Permission { group: "apps", resource: "replicasets", verbs: &["delete", "patch"] },
        Permission { group: "apps", resource: "deployments", verbs: &["patch"] },
        Permission { group: "", resource: "pods", verbs: &["watch", "list"] },
        Permission { group: "apps", resource: "deployments", verbs: &["list", "patch"] },
        Permission { group: "apps", resource: "daemonsets", verbs: &["patch", "list"] },
    ];

    #[test]
    fn rules_are_merged_and_do_not_depend_on_the_order() {
        let expected =
            ["/pods[]: list,watch", "apps/daemonsets,deployments[]: list,patch", "apps/replicasets[]: patch,delete"];
        assert_eq!(shown(&Grants::of(&PERMISSIONS).rules()), expected);
        let mut turned = PERMISSIONS;
        turned.reverse();
        assert_eq!(shown(&Grants::of(&turned).rules()), expected);
    }

    #[test]
    fn a_creation_cannot_be_held_to_a_name() {
        let lease = Permission { group: "", resource: "secrets", verbs: &["create", "get"] };
        assert_eq!(shown(&Grants::of(&[lease]).rules_for("x")), ["/secrets[]: create", "/secrets[x]: get"]);
    }

    #[test]
    fn what_a_switch_adds_is_the_difference() {
        let (all, some) = (Grants::of(&PERMISSIONS), Grants::of(&PERMISSIONS[1..]));
        assert_eq!(shown(&all.without(&some).rules()), ["apps/replicasets[]: patch,delete"]);
        assert!(some.without(&all).is_empty());
    }
}
