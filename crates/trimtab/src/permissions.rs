//! Whether the process may do what its controllers need, asked at the start and until nothing is missing. Not authorization: the server
//! decides on every request. It turns a controller that hangs on `403` into one that says what to grant.

mod rules;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

pub use crate::events::PERMISSION as EVENTS;
pub use crate::exec::PERMISSION as EXEC;
pub use crate::lease::PERMISSION as LEASE;
pub use rules::Grants;

/// So many questions are asked at once.
const AT_ONCE: usize = 16;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause before what was missing is asked for again; it doubles.
const FIRST_AGAIN: Duration = Duration::from_secs(5);
const LONGEST_AGAIN: Duration = Duration::from_secs(300);

/// What a controller needs to do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// The plural, with the subresource if it is one: `deployments`, `deployments/scale`.
    pub resource: &'static str,
    /// `get`, `list`, `watch`, `create`, `patch`, …
    pub verbs: &'static [&'static str],
}

/// Verbs that a process lacks on one resource in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// The plural, with the subresource if it is one.
    pub resource: &'static str,
    /// The verbs that are lacking.
    pub verbs: Vec<&'static str>,
    /// Where; `None`: in all namespaces.
    pub namespace: Option<String>,
    /// Who the server takes this process for.
    pub user: String,
}

impl Missing {
    fn is_about(&self, other: &Self) -> bool {
        (self.group, self.resource, &self.namespace) == (other.group, other.resource, &other.namespace)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "lacks permission to {} {}{dot}{} in ", self.verbs.join(", "), self.resource, self.group)?;
        let role = match &self.namespace {
            None => {
                write!(f, "all namespaces")?;
                "ClusterRole"
            }
            Some(namespace) => {
                write!(f, "namespace {namespace}")?;
                "Role in that namespace"
            }
        };
        write!(
            f,
            ": grant it to {} with a {role} that has apiGroups: [\"{}\"], resources: [\"{}\"], verbs: [\"{}\"]",
            self.user,
            self.group,
            self.resource,
            self.verbs.join("\", \"")
        )
    }
}

/// What a process needs in some places.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    /// The namespaces; none means all of them at once.
    pub(crate) namespaces: Vec<String>,
    pub(crate) permissions: Vec<Permission>,
    /// The one object that it needs them for, if it is known: a role may name it.
    pub(crate) object: Option<String>,
}

/// What is missing, as it was last found out; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lacking(Arc<RwLock<Vec<Missing>>>);

impl Lacking {
    /// Nothing, or what is missing.
    pub(crate) fn check(&self) -> Result<(), String> {
        let missing = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if missing.is_empty() {
            return Ok(());
        }
        Err(missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// Checks now, and again for as long as something is missing, since people grant things while a process runs.
    pub(crate) async fn follow(self, client: Client, needs: Vec<Needs>) {
        let mut pause = FIRST_AGAIN;
        loop {
            let mut missing = vec![];
            for one in &needs {
                missing.extend(lacking(client.clone(), one).await);
            }
            let before =
                std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), missing.clone());
            report(&missing.iter().filter(|missing| !before.contains(missing)).cloned().collect::<Vec<_>>());
            if missing.is_empty() {
                if !before.is_empty() {
                    tracing::info!("all permissions are there now");
                }
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_AGAIN);
        }
    }
}

/// Asks the server for every verb in every namespace; no namespaces means in all of them at once.
///
/// A question without an answer counts as granted: the check must not keep a process from starting.
pub async fn check(client: Client, namespaces: &[String], permissions: &[Permission]) -> Vec<Missing> {
    let needs = Needs { namespaces: namespaces.to_vec(), permissions: permissions.to_vec(), object: None };
    lacking(client, &needs).await
}

async fn lacking(client: Client, needs: &Needs) -> Vec<Missing> {
    let Needs { namespaces, permissions, object } = needs;
    let places: Vec<Option<String>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().cloned().map(Some).collect() };
    let mut questions = vec![];
    for place in &places {
        for permission in permissions {
            let question =
                |verb: &&'static str| ask(client.clone(), (place.clone(), object.clone()), *permission, verb);
            questions.extend(permission.verbs.iter().map(question));
        }
    }
    let answers: Vec<_> = futures::stream::iter(questions).buffered(AT_ONCE).collect().await;
    let mut missing: Vec<Missing> = vec![];
    for denied in answers.into_iter().flatten() {
        match missing.last_mut() {
            Some(last) if last.is_about(&denied) => last.verbs.extend(denied.verbs),
            _ => missing.push(denied),
        }
    }
    if !missing.is_empty() {
        let user = user(client).await;
        missing.iter_mut().for_each(|missing| user.clone_into(&mut missing.user));
    }
    missing
}

/// Logs each missing permission once, as an error.
pub fn report(missing: &[Missing]) {
    for missing in missing {
        tracing::error!(
            group = missing.group,
            resource = missing.resource,
            namespace = missing.namespace.as_deref().unwrap_or("*"),
            detail = %missing,
            "permission missing"
        );
    }
}

/// What is missing if the verb is denied, in a namespace and for an object if there are any.
async fn ask(
    client: Client,
    (place, object): (Option<String>, Option<String>),
    permission: Permission,
    verb: &'static str,
) -> Option<Missing> {
    let Permission { group, resource, .. } = permission;
    let (plural, subresource) = match resource.split_once('/') {
        Some((plural, subresource)) => (plural, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(plural.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        namespace: place.clone(),
        name: object,
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    let (api, params) = (Api::<SelfSubjectAccessReview>::all(client), PostParams::default());
    let error = match tokio::time::timeout(REQUEST_TIMEOUT, api.create(&params, &review)).await {
        Ok(Ok(review)) => {
            let denied = review.status.is_some_and(|status| !status.allowed);
            return denied.then(|| Missing {
                group,
                resource,
                verbs: vec![verb],
                namespace: place,
                user: String::new(),
            });
        }
        Ok(Err(error)) => error.to_string(),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(group, resource, verb, error, "permission could not be checked");
    None
}

/// Who the server takes us for; servers before 1.28 do not say.
async fn user(client: Client) -> String {
    let (api, params) = (Api::<SelfSubjectReview>::all(client), PostParams::default());
    let asked = tokio::time::timeout(REQUEST_TIMEOUT, api.create(&params, &SelfSubjectReview::default())).await;
    let info = asked.ok().and_then(Result::ok).and_then(|review| review.status).and_then(|status| status.user_info);
    info.and_then(|info| info.username).unwrap_or_else(|| "the service account of this process".to_owned())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{StatusCode, Uri};
    use serde_json::{Value, json};

    use super::*;

    /// Allows everything but to patch replica sets and to get `leases` in `shop`.
    async fn serve(uri: Uri, body: String) -> (StatusCode, String) {
        let mut review: Value = serde_json::from_str(&body).unwrap();
        review["status"] = if uri.path().ends_with("/selfsubjectreviews") {
            json!({ "userInfo": { "username": "system:serviceaccount:trimtab:trimtab" } })
        } else {
            let asked = &review["spec"]["resourceAttributes"];
            let denied = (asked["resource"] == "replicasets" && asked["verb"] == "patch")
                || (asked["resource"] == "leases" && asked["namespace"] == "shop");
            json!({ "allowed": !denied })
        };
        (StatusCode::CREATED, review.to_string())
    }

    async fn client() -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
        crate::client(kube::Config::new(url)).unwrap()
    }

    #[tokio::test]
    async fn what_is_missing_is_a_sentence_that_says_what_to_grant() {
        let needs = [
            Permission { group: "apps", resource: "replicasets", verbs: &["get", "list", "patch"] },
            Permission { group: "", resource: "pods", verbs: &["get"] },
        ];
        let missing = check(client().await, &[], &needs).await;
        let said: Vec<String> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            ["lacks permission to patch replicasets.apps in all namespaces: grant it to \
              system:serviceaccount:trimtab:trimtab with a ClusterRole that has apiGroups: [\"apps\"], resources: \
              [\"replicasets\"], verbs: [\"patch\"]"]
        );
    }

    #[tokio::test]
    async fn verbs_are_grouped_by_place() {
        let needs = [Permission { group: "coordination.k8s.io", resource: "leases", verbs: &["get", "update"] }];
        let missing = check(client().await, &["shop".to_owned(), "bank".to_owned()], &needs).await;
        assert_eq!(missing.len(), 1);
        assert_eq!((missing[0].namespace.as_deref(), &missing[0].verbs[..]), (Some("shop"), &["get", "update"][..]));
    }
}
