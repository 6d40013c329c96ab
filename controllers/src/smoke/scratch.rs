//! What the smoke test makes: a namespace or a corner of one, an application with a plan and a ConfigMap. And that all of it
//! goes again, whatever happened. Not what is judged by it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, PropagationPolicy,
};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use trimtab_crds::{Release, ReleasePlan};

use crate::excerpts::{self, Pod};

use super::args::SmokeArgs;
use super::serve::{CRASH, FAIL, PORT};

/// Label of everything that is made here.
const LABEL: &str = "trimtab.dev/smoke-test";
/// Namespaces of tests that were killed are removed by a later one, once no test can still be at work in them.
const STALE: Duration = Duration::from_secs(3600);
const PERIOD: Duration = Duration::from_millis(250);

/// How many pods the application has.
pub(super) const PODS: usize = 2;

/// The place of a test and the name of all that it makes there.
pub(super) struct Scratch {
    client: Client,
    /// The namespace.
    pub(super) namespace: String,
    /// The name of the Deployment, the plan and the ConfigMap.
    pub(super) name: String,
    /// Whether the namespace was made for the test.
    own: bool,
}

impl Scratch {
    /// A place with a name that nothing has; nothing is made yet.
    pub(super) fn new(client: Client, args: &SmokeArgs) -> Result<Self> {
        let mut random = [0; 3];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
        let name = random.iter().fold("smoke-".to_owned(), |name, byte| format!("{name}{byte:02x}"));
        let namespace = args.namespace.clone().unwrap_or_else(|| format!("trimtab-{name}"));
        Ok(Self { client, namespace, name, own: args.namespace.is_none() })
    }

    /// The objects of a kind in the namespace.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The same for a kind of which only the metadata matters.
    pub(super) fn objects<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        excerpts::objects::<K>(&self.client, &self.namespace)
    }

    fn namespaces(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<Namespace>(&()))
    }

    /// Makes the application and its plan.
    pub(super) async fn make(&self, args: &SmokeArgs) -> Result<()> {
        if self.own {
            self.remove_stale().await;
            // Where PodSecurity is stricter than that of the release's namespace, it is the application that is to pass.
            let labels = json!({LABEL: "true", "pod-security.kubernetes.io/enforce": "restricted"});
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}});
            let namespace = serde_json::from_value(namespace)?;
            self.namespaces()
                .create(&PostParams::default(), &namespace)
                .await
                .context("cannot make a namespace: name one that is there with --namespace")?;
        }
        self.create::<ConfigMap>(json!({"data": {"fail": ""}})).await?;
        self.create::<Deployment>(json!({"spec": deployment(&self.name, args)})).await?;
        self.create::<ReleasePlan>(json!({"spec": {
            "targetRef": {"kind": "Deployment", "name": self.name},
            "strategy": {"canary": {"steps": [{"setWeight": 30}, {"pause": {}}]}},
            // An application that starts at all has long done so by then.
            "progressDeadline": "2m",
        }}))
        .await
    }

    async fn create<K: Resource<DynamicType = ()>>(&self, mut object: Value) -> Result<()> {
        let kind = K::kind(&());
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": self.name, "labels": {LABEL: "true"}});
        let what = || format!("cannot create {kind} {}/{}", self.namespace, self.name);
        let object = serde_json::from_value(object).with_context(what)?;
        self.objects::<K>().create(&PostParams::default(), &object).await.with_context(what)?;
        Ok(())
    }

    /// Changes an object of the application.
    pub(super) async fn change<K: Resource<DynamicType = ()>>(&self, patch: Value) -> Result<()> {
        let what = || format!("cannot change {} {}/{}", K::kind(&()), self.namespace, self.name);
        let how = PatchParams { field_manager: Some("trimtab-smoke-test".to_owned()), ..PatchParams::default() };
        self.objects::<K>().patch(&self.name, &how, &Patch::Merge(patch)).await.with_context(what)?;
        Ok(())
    }

    /// The application's pods, by uid.
    pub(super) async fn pods(&self) -> Result<BTreeMap<String, Pod>> {
        let pods = excerpts::pods(&self.client, &self.namespace);
        let list = pods.list(&ListParams::default().labels(&format!("app={}", self.name))).await?;
        let live = list.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(live.filter_map(|pod| Some((pod.uid()?, pod))).collect())
    }

    /// Takes everything away and waits until it is gone.
    pub(super) async fn remove(&self, patience: Duration) -> Result<()> {
        let work = async {
            if self.own {
                return gone(&self.namespaces(), &self.namespace).await;
            }
            gone(&self.objects::<Deployment>(), &self.name).await?;
            gone(&self.objects::<ReleasePlan>(), &self.name).await?;
            gone(&self.objects::<ConfigMap>(), &self.name).await?;
            let prefix = format!("{}-", self.name);
            loop {
                // Copies of configuration go with the ReplicaSets that name them, records with their plan.
                let copies = self.objects::<ConfigMap>().list_metadata(&ListParams::default()).await?;
                let records = self.objects::<Release>().list_metadata(&ListParams::default()).await?;
                let names = copies.iter().map(|m| m.name_any()).chain(records.iter().map(|m| m.name_any()));
                if self.pods().await?.is_empty() && !names.into_iter().any(|name| name.starts_with(&prefix)) {
                    return Ok(());
                }
                tokio::time::sleep(PERIOD).await;
            }
        };
        let done = tokio::time::timeout(patience, work).await;
        ensure!(done.is_ok(), "not all of it is gone after {} s; it is labelled {LABEL}", patience.as_secs());
        done?
    }

    async fn remove_stale(&self) {
        let namespaces = self.namespaces();
        let list = namespaces.list_metadata(&ListParams::default().labels(LABEL)).await;
        for namespace in list.into_iter().flatten() {
            let made = namespace.creation_timestamp().map(|time| time.0);
            if made.is_some_and(|made| {
                Timestamp::now().duration_since(made) > jiff::SignedDuration::try_from(STALE).unwrap_or_default()
            }) {
                // Another test may be at it.
                let _ = namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await;
            }
        }
    }
}

/// Deletes an object and waits until nothing of that name is there.
async fn gone(objects: &Api<DynamicObject>, name: &str) -> Result<()> {
    let how = DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    match objects.delete(name, &how).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        other => other?,
    };
    while objects.get_metadata_opt(name).await?.is_some() {
        tokio::time::sleep(PERIOD).await;
    }
    Ok(())
}

fn deployment(name: &str, args: &SmokeArgs) -> Value {
    let labels = json!({"app": name, LABEL: "true"});
    let pull_secrets: Vec<_> = args.pull_secrets.iter().map(|name| json!({"name": name})).collect();
    json!({
        "replicas": PODS,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "automountServiceAccountToken": false,
                "imagePullSecrets": pull_secrets,
                "terminationGracePeriodSeconds": 5,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "app",
                    "image": args.image,
                    "imagePullPolicy": args.pull_policy,
                    "args": ["smoke-test", "--serve"],
                    "env": [{"name": FAIL, "valueFrom": {"configMapKeyRef": {"name": name, "key": "fail"}}}],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        },
    })
}

/// The data that makes the application fail.
pub(super) fn bad_configuration() -> Value {
    json!({"data": {"fail": CRASH}})
}
