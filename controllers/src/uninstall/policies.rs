//! The policies inside the API server: which are there, and taking away those that hold changes once nothing is guarded
//! any more. Those that freeze configuration stay: pods that come back need them.

use std::time::Duration;

use anyhow::Result;
use kube::Client;
use trimtab::Writer;
use trimtab_crds::names;
use trimtab_plan::{Kind, Propagation, Verb, Write};

use super::read::{What, list};

const GROUP: &str = "admissionregistration.k8s.io";

/// Kinds of policies and of their bindings, bindings first: without one a policy does nothing.
const KINDS: [Kind; 4] = [
    Kind::cluster(GROUP, "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
    Kind::cluster(GROUP, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    Kind::cluster(GROUP, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
    Kind::cluster(GROUP, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
];

/// The policies that hold changes and tell of it.
const HOLD: [&str; 2] = ["trimtab-hold", "trimtab-held-warning"];

/// Takes the policies away that hold changes, if no Deployment of the cluster is guarded. `Ok(Some)`: they stay, and why.
pub(super) async fn remove_hold(client: &Client, writer: &Writer) -> Result<Option<String>> {
    let guarded = |deployment: serde_json::Value| {
        let metadata = &deployment["metadata"];
        let guard = metadata["annotations"][names::PLAN].as_str().unwrap_or_default();
        let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
        (!guard.is_empty())
            .then(|| format!("Deployment {} of namespace {} is guarded", text("name"), text("namespace")))
    };
    let all = What { metadata_only: true, ..What::all(names::DEPLOYMENT) };
    match list(client, &all, guarded).await {
        Ok(guarded) if guarded.is_empty() => {}
        Ok(guarded) => return Ok(guarded.into_iter().next()),
        Err(error) => return Ok(Some(format!("whether another namespace needs them is not known: {error}"))),
    }
    for kind in KINDS {
        for name in HOLD {
            let verb = Verb::Delete { uid: None, resource_version: None, propagation: Propagation::Background };
            let why = "nothing is to be held any more".to_owned();
            let write = Write { target: kind.object("", name), verb, why };
            if let Some(failure) = writer.apply(&[write], Duration::from_secs(30)).await.failed {
                return Ok(Some(failure.message));
            }
        }
    }
    Ok(None)
}
