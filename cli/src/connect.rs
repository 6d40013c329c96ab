//! The way to the API server, and finding a plan there by what a person calls it. Not what is then done with it.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use trimtab_crds::ReleasePlan;
use trimtab_release::{DeploymentView, Snapshot, decide};

use crate::args::{Cluster, Reference};

/// A cluster and the namespace that is meant.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// How the same cluster is named again on a command line: ` -n demo`, or nothing.
    pub options: String,
    server: String,
}

/// Connects as the options say. Nothing is asked of the server yet.
pub async fn connect(options: &Cluster) -> Result<Connection> {
    let how = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match &options.kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            Config::from_custom_kubeconfig(read, &how).await?
        }
        None => match Config::from_kubeconfig(&how).await {
            Ok(config) => config,
            Err(KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath) if options.context.is_none() => {
                Config::incluster().map_err(|_| {
                    anyhow!(
                        "no cluster is known: set KUBECONFIG, use --kubeconfig, or start one with `trimtab local up`"
                    )
                })?
            }
            Err(error) => return Err(error).context("the kubeconfig cannot be used"),
        },
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(30));
    let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let again = match &options.namespace {
        Some(namespace) => format!(" -n {namespace}"),
        None => String::new(),
    };
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).context("the kubeconfig makes no client")?;
    Ok(Connection { client, namespace, options: again, server })
}

const NO_KINDS: &str = "this cluster knows no ReleasePlans: install them with: kubectl apply -f crds/";

/// What the API server answers however often it is asked, until somebody changes something: what is asked for is not there, or may not
/// be read.
#[derive(Debug)]
pub struct Final(String);

impl fmt::Display for Final {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Final {}

impl Connection {
    /// A connection that is there already.
    pub fn of(client: Client, namespace: &str) -> Self {
        let options = format!(" -n {namespace}");
        Self { client, namespace: namespace.to_owned(), options, server: "the cluster".to_owned() }
    }

    /// Release plans of the namespace.
    pub fn plans(&self) -> Api<ReleasePlan> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes what the API server answers say what to do.
    pub fn explain(&self, error: kube::Error) -> anyhow::Error {
        match &error {
            kube::Error::Api(status) if status.code == 404 && status.message.contains("could not find") => {
                Final(NO_KINDS.to_owned()).into()
            }
            kube::Error::Api(status) if status.code == 404 && status.reason != "NotFound" => {
                Final(NO_KINDS.to_owned()).into()
            }
            kube::Error::Api(status) => {
                let said = format!("the API server says: {}", status.message.trim());
                if matches!(status.code, 403 | 404) { Final(said).into() } else { anyhow!(said) }
            }
            kube::Error::HyperError(_) | kube::Error::Service(_) => {
                let error = anyhow::Error::new(error);
                anyhow!("cannot reach the API server at {}: {}", self.server, error.root_cause())
            }
            _ => error.into(),
        }
    }

    /// The plan that is meant; an error that lists those that are there otherwise.
    pub async fn find(&self, reference: &Reference) -> Result<ReleasePlan> {
        let all = self.plans().list(&ListParams::default()).await.map_err(|e| self.explain(e))?.items;
        match pick(&all, reference) {
            Some(plan) => Ok(plan.clone()),
            None => {
                let held = match reference {
                    Reference::Deployment(name) => self.held_without_plan(name).await?,
                    Reference::Plan(_) => None,
                };
                bail!(Final(held.unwrap_or_else(|| unknown(&all, reference, &self.namespace))))
            }
        }
    }

    /// What the manager says of a Deployment whose change is held and whose plan is gone.
    async fn held_without_plan(&self, name: &str) -> Result<Option<String>> {
        let Some(object) = crate::situation::get(self, trimtab_crds::names::DEPLOYMENT, name).await? else {
            return Ok(None);
        };
        let deployment = serde_json::from_value(object).context("the Deployment cannot be read")?;
        Ok(without_plan(&self.namespace, name, deployment))
    }
}

fn without_plan(namespace: &str, name: &str, deployment: DeploymentView) -> Option<String> {
    let seen = Snapshot {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        deployment: Some(Arc::new(deployment)),
        ..Snapshot::default()
    };
    let said = decide(Timestamp::now(), &seen).because;
    said.into_iter().find(|because| because.reason == "HeldWithoutPlan").map(|because| because.message)
}

/// The plan that is meant. Of two plans for one Deployment the older counts, as it does for the manager.
pub fn pick<'a>(all: &'a [ReleasePlan], reference: &Reference) -> Option<&'a ReleasePlan> {
    match reference {
        Reference::Plan(name) => all.iter().find(|plan| plan.metadata.name.as_deref() == Some(name)),
        Reference::Deployment(name) => all
            .iter()
            .filter(|plan| plan.spec.target_ref.name == *name)
            .min_by_key(|plan| (plan.metadata.creation_timestamp.as_ref().map(|t| t.0), plan.metadata.name.clone())),
    }
}

fn unknown(all: &[ReleasePlan], reference: &Reference, namespace: &str) -> String {
    let plans: Vec<&str> = all.iter().filter_map(|plan| plan.metadata.name.as_deref()).collect();
    let there = match plans.as_slice() {
        [] => format!("there are no plans in namespace {namespace}: name another with -n, or list all with `get -A`"),
        _ => format!("plans in namespace {namespace}: {}", plans.join(", ")),
    };
    match reference {
        Reference::Plan(name) => {
            let meant = plans.iter().map(|p| (distance(name, p), *p)).min().filter(|(d, p)| *d <= p.len().max(3) / 3);
            let target = all.iter().find(|p| p.spec.target_ref.name == *name).and_then(|p| p.metadata.name.as_deref());
            let hint = match (meant, target) {
                (_, Some(plan)) => format!("; Deployment {name} is released by {plan}"),
                (Some((_, plan)), _) => format!("; did you mean {plan}?"),
                _ => String::new(),
            };
            format!("there is no ReleasePlan {name} in namespace {namespace}{hint}\n{there}")
        }
        Reference::Deployment(name) => {
            format!(
                "no ReleasePlan in namespace {namespace} releases Deployment {name}: its changes roll at once\n{there}"
            )
        }
    }
}

/// How many letters must be changed, added, removed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let changed = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let best = changed.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if swapped { best.min(table[i - 2][j - 2] + 1) } else { best }
                }
            };
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, target: &str) -> ReleasePlan {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "ReleasePlan", "metadata": {"name": name},
            "spec": {"targetRef": {"name": target}},
        }))
        .unwrap()
    }

    fn check(reference: Reference, expected: &str) {
        let all = [plan("checkout", "checkout"), plan("web-plan", "web")];
        let got = match pick(&all, &reference) {
            Some(plan) => plan.metadata.name.clone().unwrap(),
            None => unknown(&all, &reference, "shop").lines().next().unwrap().to_owned(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn a_held_deployment_whose_plan_is_gone_is_not_said_to_roll_at_once() {
        let check = |annotations: serde_json::Value, paused: bool, expected: Option<&str>| {
            let object = serde_json::json!({
                "metadata": {"name": "web", "namespace": "shop", "uid": "d", "annotations": annotations},
                "spec": {"paused": paused, "template": {"spec": {"containers": []}}},
            });
            let said = without_plan("shop", "web", serde_json::from_value(object).unwrap());
            assert_eq!(said.as_deref().map(|said| said.split(". To").next().unwrap_or_default()), expected);
        };
        let held = "a change of Deployment web is held, but its ReleasePlan \"web\" is gone";
        check(serde_json::json!({"trimtab.dev/plan": "web", "trimtab.dev/held": "by ann"}), true, Some(held));
        check(serde_json::json!({"trimtab.dev/plan": "web"}), false, None);
        check(serde_json::json!({}), false, None);
    }

    #[tokio::test]
    async fn what_the_server_refuses_however_often_it_is_asked_is_not_waited_for() {
        let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let to = Connection::of(client, "shop");
        for (code, is_final) in [(401, false), (403, true), (404, true), (429, false), (500, false), (503, false)] {
            let reason = if code == 404 { "NotFound" } else { "" };
            let status = serde_json::json!({"status": "Failure", "message": "no", "reason": reason, "code": code});
            let status: kube::core::Status = serde_json::from_value(status).unwrap();
            let error = to.explain(kube::Error::Api(status.boxed()));
            assert_eq!(error.is::<Final>(), is_final, "{code}: {error}");
        }
    }

    #[test]
    fn plans_are_found_by_name_and_by_deployment() {
        check(Reference::Plan("checkout".into()), "checkout");
        check(Reference::Deployment("web".into()), "web-plan");
    }

    #[test]
    fn an_unknown_plan_is_answered_with_the_nearest() {
        let none = "there is no ReleasePlan";
        check(Reference::Plan("chekout".into()), &format!("{none} chekout in namespace shop; did you mean checkout?"));
        check(
            Reference::Plan("web".into()),
            &format!("{none} web in namespace shop; Deployment web is released by web-plan"),
        );
        check(
            Reference::Plan("chekcout".into()),
            &format!("{none} chekcout in namespace shop; did you mean checkout?"),
        );
        check(Reference::Plan("database".into()), &format!("{none} database in namespace shop"));
        check(
            Reference::Deployment("api".into()),
            "no ReleasePlan in namespace shop releases Deployment api: its changes roll at once",
        );
    }
}
