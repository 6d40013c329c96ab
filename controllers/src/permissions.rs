//! What the manager needs to be allowed, by controller and by what is switched on: derived from what the controllers declare
//! and watch, so that no role is written by hand. Not granted here: the chart does that, or whoever applies a printed role.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Serialize;
use trimtab::permissions::{EVENTS, EXEC, LEASE};
use trimtab::{Controller, Grants, Permission, Watches, permissions_of};
use trimtab_config::DigestKey;
use trimtab_reload::Options as ReloadOptions;
use trimtab_scale::Options as ScaleOptions;

use crate::digest_key;
use crate::reload::{Reloading, Setup};
use crate::rollout::{self, Rollout};
use crate::scale::Scaling;
use crate::tracking::{self, Tracking};

/// The digest key's Secret in the manager's namespace.
const DIGEST_KEY: Permission = Permission { group: "", resource: "secrets", verbs: &["get", "create"] };
/// The name of the Lease by default.
pub const LEASE_NAME: &str = "trimtab-manager";

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
        ("exec", Grants::of(&[EXEC])),
        ("namespaceSelector", added(|setup| setup.namespaces = Some(Default::default()))),
        ("rollouts", added(|setup| setup.rollouts = true)),
    ]
    .into();
    needs
}

/// What is needed in every namespace that the manager works in, whichever controllers run.
pub fn always() -> Grants {
    Grants::of(&[EVENTS])
}

/// What is needed in the manager's own namespace.
pub fn own() -> Vec<PolicyRule> {
    Grants::of(&[LEASE]).rules_for(LEASE_NAME)
}

/// What is needed there where Secrets are read.
pub fn own_secrets() -> Vec<PolicyRule> {
    Grants::of(&[DIGEST_KEY]).rules_for(digest_key::NAME)
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
            own: own(),
            own_secrets: own_secrets(),
        }
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}
