//! What the manager needs to be allowed, by controller and by what is switched on: derived from what the controllers declare
//! and watch, so that no role is written by hand. Not granted here: the chart does that, or whoever applies a printed role.

pub mod why;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Serialize;
use serde_json::{Value, json};
use trimtab::permissions::{EVENTS, EXEC, LEASE};
use trimtab::{Controller, Grants, Permission, Watches, permissions_of};
use trimtab_config::DigestKey;
use trimtab_reload::Options as ReloadOptions;
use trimtab_scale::Options as ScaleOptions;

use crate::args::Args;
use crate::digest_key;
use crate::reload::{Reloading, Setup};
use crate::rollout::{self, Rollout};
use crate::scale::Scaling;
use crate::tracking::{self, Tracking};

/// The digest key's Secret in the manager's namespace.
const DIGEST_KEY: Permission = Permission { group: "", resource: "secrets", verbs: &["get", "create"] };
/// The name of the Lease by default.
pub const LEASE_NAME: &str = "trimtab-manager";

/// To run programs in pods: for `trimtab.dev/reload-mode: signal`, and to look at files.
pub const EXEC_OPTION: &str = "exec";
/// To watch namespaces, which no Role can grant.
pub const NAMESPACE_SELECTOR: &str = "namespaceSelector";
/// Rollouts of Argo Rollouts.
pub const ROLLOUTS: &str = "rollouts";

/// What one controller needs.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// In any case.
    pub rules: Grants,
    /// Where Secrets are read.
    pub secrets: Grants,
    /// For what is off unless somebody asks for it, by the name of it.
    pub options: BTreeMap<&'static str, Grants>,
}

impl Needs {
    /// What the switch for Secrets adds is told apart by asking twice.
    fn of<C: Controller>(build: impl Fn(&mut Watches<C::Key>, bool) -> C) -> Self {
        let rules = Grants::of(&permissions_of(|watches| build(watches, false)));
        let secrets = Grants::of(&permissions_of(|watches| build(watches, true))).without(&rules);
        Self { rules, secrets, options: BTreeMap::new() }
    }
}

/// What each controller needs in the namespaces that the manager works in, by the names of `--controllers`.
pub fn by_controller() -> BTreeMap<&'static str, Needs> {
    let (quiet_period, digest_key) = (Duration::ZERO, DigestKey::default());
    let release = Needs::of(|watches, secrets| {
        Rollout::new(watches, rollout::Options { quiet_period, digest_key: digest_key.clone(), secrets })
    });
    let config = Needs::of(|watches, secrets| {
        Tracking::new(watches, tracking::Options { quiet_period, digest_key: digest_key.clone(), secrets })
    });
    let scale = Needs::of(|watches, _| Scaling::new(watches, ScaleOptions::default()));
    [("release", release), ("config", config), ("reload", reload()), ("scale", scale)].into()
}

fn reload() -> Needs {
    let with = |secrets, change: fn(&mut Setup)| {
        move |watches: &mut Watches<_>| {
            let mut setup =
                Setup { options: ReloadOptions { secrets, ..ReloadOptions::default() }, ..Setup::default() };
            change(&mut setup);
            Reloading::new(watches, setup)
        }
    };
    let mut needs = Needs::of(|watches, secrets| with(secrets, |_| {})(watches));
    let added = |change| Grants::of(&permissions_of(with(false, change))).without(&needs.rules);
    needs.options = [
        (EXEC_OPTION, Grants::of(&[EXEC])),
        (NAMESPACE_SELECTOR, added(|setup| setup.namespaces = Some(Default::default()))),
        (ROLLOUTS, added(|setup| setup.rollouts = true)),
    ]
    .into();
    needs
}

/// What is needed in every namespace that the manager works in, whichever controllers run.
pub fn always() -> Grants {
    Grants::of(&[EVENTS])
}

/// What is needed in the manager's own namespace.
pub fn own(lease_name: &str) -> Vec<PolicyRule> {
    Grants::of(&[LEASE]).rules_for(lease_name)
}

/// What is needed there where Secrets are read.
pub fn own_secrets() -> Vec<PolicyRule> {
    Grants::of(&[DIGEST_KEY]).rules_for(digest_key::NAME)
}

/// What of it is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The controllers that run.
    pub controllers: Vec<String>,
    /// Whether Secrets are read.
    pub secrets: bool,
    /// Which of the options of [`Needs`].
    pub options: Vec<&'static str>,
}

impl Wanted {
    /// What a manager with these flags needs; to run programs in pods has no flag.
    pub fn of(args: &Args) -> Self {
        let options = args.reload.namespace_selector.is_some().then_some(NAMESPACE_SELECTOR);
        Self { controllers: args.controllers.clone(), secrets: args.secrets, options: options.into_iter().collect() }
    }

    /// In every namespace that the manager works in.
    ///
    /// # Errors
    ///
    /// If there is no such controller.
    pub fn grants(&self) -> Result<Grants> {
        let all = by_controller();
        let mut grants = always();
        for name in &self.controllers {
            let needs = all.get(name.as_str()).with_context(|| {
                format!("there is no controller {name:?}: use one of {}", crate::manager::CONTROLLERS.join(", "))
            })?;
            grants = grants.with(&needs.rules);
            if self.secrets {
                grants = grants.with(&needs.secrets);
            }
            let options = self.options.iter().filter(|option| **option != NAMESPACE_SELECTOR);
            grants = options.filter_map(|option| needs.options.get(option)).fold(grants, |all, one| all.with(one));
        }
        Ok(grants)
    }

    /// In the whole cluster, since it is about what is in no namespace.
    pub fn cluster(&self) -> Grants {
        let reloads = self.controllers.iter().any(|name| name == Reloading::NAME);
        if !reloads || !self.options.contains(&NAMESPACE_SELECTOR) {
            return Grants::default();
        }
        by_controller()
            .remove(Reloading::NAME)
            .and_then(|mut needs| needs.options.remove(NAMESPACE_SELECTOR))
            .unwrap_or_default()
    }
}

/// Where a manager runs and works.
#[derive(Debug, Clone)]
pub struct Place {
    /// The name of its ServiceAccount, and of its roles.
    pub name: String,
    /// Its own namespace.
    pub namespace: String,
    /// The namespaces that it works in; all if there are none.
    pub namespaces: Vec<String>,
    /// The name of its Lease.
    pub lease_name: String,
}

/// A manager's roles, their bindings, and its ServiceAccount as the last.
///
/// # Errors
///
/// If there is no such controller.
pub fn manifests(wanted: &Wanted, place: &Place) -> Result<Vec<Value>> {
    let Place { name, namespace, namespaces, lease_name } = place;
    let (work, cluster) = (wanted.grants()?.rules(), wanted.cluster().rules());
    let mut all = vec![];
    let mut cluster_rules = cluster;
    if namespaces.is_empty() {
        cluster_rules.extend(work);
    } else {
        namespaces.iter().for_each(|one| all.extend(place.bound("Role", Some(one), name, &work)));
    }
    if !cluster_rules.is_empty() {
        all.extend(place.bound("ClusterRole", None, name, &cluster_rules));
    }
    let mut own = own(lease_name);
    own.extend(wanted.secrets.then(own_secrets).into_iter().flatten());
    all.extend(place.bound("Role", Some(namespace), &format!("{name}-own"), &own));
    all.push(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}));
    Ok(all)
}

impl Place {
    /// A role and its binding.
    fn bound(&self, kind: &str, namespace: Option<&String>, name: &str, rules: &[PolicyRule]) -> [Value; 2] {
        let group = "rbac.authorization.k8s.io";
        let mut metadata = json!({"name": name});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.as_str().into();
        }
        let api_version = format!("{group}/v1");
        let role = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "rules": rules});
        let binding = json!({
            "apiVersion": api_version, "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace}],
        });
        [role, binding]
    }
}

/// All of it as the chart reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    always: Vec<PolicyRule>,
    controllers: BTreeMap<&'static str, BTreeMap<&'static str, Vec<PolicyRule>>>,
    own: Vec<PolicyRule>,
    own_secrets: Vec<PolicyRule>,
}

impl Document {
    /// As the controllers declare it.
    pub fn new() -> Self {
        let parts = |needs: Needs| {
            let fixed = [("rules", needs.rules.rules()), ("secrets", needs.secrets.rules())];
            fixed.into_iter().chain(needs.options.into_iter().map(|(name, grants)| (name, grants.rules()))).collect()
        };
        Self {
            always: always().rules(),
            controllers: by_controller().into_iter().map(|(name, needs)| (name, parts(needs))).collect(),
            own: own(LEASE_NAME),
            own_secrets: own_secrets(),
        }
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::CONTROLLERS;

    fn wanted(secrets: bool) -> Wanted {
        Wanted { controllers: CONTROLLERS.map(str::to_owned).to_vec(), secrets, options: vec![] }
    }

    #[test]
    fn every_controller_has_its_needs_and_no_wildcard_is_among_them() {
        let all = by_controller();
        assert_eq!(all.keys().copied().collect::<std::collections::BTreeSet<_>>(), CONTROLLERS.into());
        let text = serde_json::to_string(&Document::new()).unwrap();
        assert!(!text.contains('*'), "{text}");
        for (name, needs) in all {
            assert!(!needs.rules.is_empty() && needs.options.values().all(|grants| !grants.is_empty()), "{name}");
        }
    }

    #[test]
    fn without_secrets_no_role_names_them() {
        let place = Place {
            name: "m".to_owned(),
            namespace: "own".to_owned(),
            namespaces: vec!["shop".to_owned()],
            lease_name: "l".to_owned(),
        };
        let shown = |secrets| serde_json::to_string(&manifests(&wanted(secrets), &place).unwrap()).unwrap();
        assert!(!shown(false).contains("\"secrets\""), "{}", shown(false));
        assert!(shown(true).contains("\"secrets\""));
        assert!(!shown(true).contains("ClusterRole"), "{}", shown(true));
    }

    #[test]
    fn an_unknown_controller_is_named() {
        let wanted = Wanted { controllers: vec!["relase".to_owned()], ..wanted(true) };
        assert!(wanted.grants().unwrap_err().to_string().contains("relase"));
    }
}
