//! Whether Rollouts of Argo Rollouts are reloaded: a kind that a cluster may lack, and that a manager may have no rights on.

use kube::Client;
use trimtab::{Permission, permissions};
use trimtab_crds::names;

const NEEDED: Permission =
    Permission { group: names::ROLLOUT.group, resource: names::ROLLOUT.plural, verbs: &["list", "watch", "patch"] };

/// Whether the cluster has the kind, and this process may look after it. Reloads begin once everything that they watch was read: a
/// kind that is refused would keep those of all others from beginning, for good.
pub(crate) async fn are_reloaded(client: &Client, namespaces: &[String]) -> bool {
    if !exist(client).await {
        return false;
    }
    let missing = permissions::check(client.clone(), namespaces, &[NEEDED]).await;
    for missing in &missing {
        tracing::warn!(detail = %missing, "Rollouts of Argo Rollouts are not reloaded: grant this and start the manager anew");
    }
    missing.is_empty()
}

async fn exist(client: &Client) -> bool {
    let version = format!("{}/{}", names::ROLLOUT.group, names::ROLLOUT.version);
    match client.list_api_group_resources(&version).await {
        Ok(list) => list.resources.iter().any(|resource| resource.name == names::ROLLOUT.plural),
        Err(error) => {
            tracing::debug!(%error, "no Rollouts of Argo Rollouts are found; once their CRD is there, start anew");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::Uri};
    use serde_json::{Value, json};

    use super::*;

    /// Whether they are reloaded where the API server has these kinds of the group, and refuses a verb on them.
    async fn check(kinds: &'static [&'static str], refused: &'static str, expected: bool) {
        let answer = move |uri: Uri, body: String| async move {
            if !uri.path().ends_with("/selfsubjectaccessreviews") {
                let kind = |name: &&str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "Any", "verbs": []});
                let kinds: Vec<Value> = kinds.iter().map(kind).collect();
                return json!({"groupVersion": "argoproj.io/v1alpha1", "resources": kinds}).to_string();
            }
            let mut review: Value = serde_json::from_str(&body).unwrap_or_default();
            let verb = review["spec"]["resourceAttributes"]["verb"].clone();
            review["status"] = json!({"allowed": verb != refused});
            review.to_string()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        let client = trimtab::client(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap();
        assert_eq!(are_reloaded(&client, &[]).await, expected, "without {refused:?}");
        serving.abort();
    }

    #[tokio::test]
    async fn they_are_reloaded_where_they_exist_and_may_be_watched_and_changed() {
        check(&["rollouts", "analysisruns"], "", true).await;
        check(&["analysisruns"], "", false).await;
        for verb in NEEDED.verbs {
            check(&["rollouts"], verb, false).await;
        }
    }
}
