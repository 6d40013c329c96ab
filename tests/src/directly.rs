//! What tests write and read again and again, as kubectl does it, but asked of the API server directly: a process of kubectl takes more of
//! the processor than what it asks for. Not for a test that is about kubectl itself.

use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use trimtab_crds::names;
use trimtab_plan::Kind;

use crate::App;

/// Where kubectl keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Kinds by whose names objects are found.
const KINDS: [Kind; 13] = [
    names::DEPLOYMENT,
    names::STATEFUL_SET,
    names::DAEMON_SET,
    names::REPLICA_SET,
    names::CRON_JOB,
    names::JOB,
    names::ROLLOUT,
    names::CONTROLLER_REVISION,
    names::CONFIG_MAP,
    names::SECRET,
    names::RELEASE_PLAN,
    names::AUTOSCALER,
    Kind::namespaced("", "v1", "ResourceQuota", "resourcequotas"),
];

/// A patch by a command of kubectl, which names itself so: `kubectl-set`.
pub(crate) fn by(command: &str) -> PatchParams {
    PatchParams { field_manager: Some(command.to_owned()), ..PatchParams::default() }
}

/// What `kubectl set image` writes for the container `web`.
pub(crate) fn image(image: &str) -> Patch<Value> {
    let containers = json!([{"name": "web", "image": image}]);
    Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": containers}}}}))
}

/// Where the objects of a manifest's kind are.
pub(crate) fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

impl App {
    /// Writes the objects of a manifest as `kubectl apply` does. What is there is not taken out where the manifest no longer has it.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn write(&self, yaml: &str) -> Result<()> {
        for manifest in yaml.split("---\n").filter(|text| !text.trim().is_empty()) {
            self.write_one(serde_saphyr::from_str(manifest)?).await?;
        }
        Ok(())
    }

    async fn write_one(&self, mut object: Value) -> Result<()> {
        object["metadata"]["namespace"] = json!(self.namespace());
        if object["metadata"]["annotations"].is_null() {
            object["metadata"]["annotations"] = json!({});
        }
        object["metadata"]["annotations"][LAST_APPLIED] = json!(format!("{object}\n"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let name = text(&object["metadata"]["name"]);
        let (api, command) = (self.objects(&resource(&api_version, &kind)), "kubectl-client-side-apply");
        let written = if api.get_opt(&name).await?.is_some() {
            api.patch(&name, &by(command), &Patch::Merge(&object)).await
        } else {
            let params = PostParams { field_manager: Some(command.to_owned()), ..PostParams::default() };
            api.create(&params, &serde_json::from_value(object)?).await
        };
        written.map(drop).with_context(|| format!("{kind} {name}"))
    }

    /// Makes the Secret `db` as `kubectl create secret generic` does.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub(crate) async fn make_secret(&self) -> Result<()> {
        let secret = json!({"metadata": {"name": "db"}, "type": "Opaque", "stringData": {"password": "one"}});
        let params = PostParams { field_manager: Some("kubectl-create".to_owned()), ..PostParams::default() };
        let made = self.of_kind("secret")?.create(&params, &serde_json::from_value(secret)?).await;
        made.map(drop).context("cannot make secret/db")
    }

    /// Changes an object as a command of kubectl does, which names itself so: `kubectl-set`.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub(crate) async fn change(&self, object: &str, command: &str, patch: Patch<Value>) -> Result<()> {
        let (kind, name) = object.split_once('/').with_context(|| format!("{object} is no object"))?;
        let written = self.of_kind(kind)?.patch(name, &by(command), &patch).await;
        written.map(drop).with_context(|| format!("cannot change {object}"))
    }

    /// An object by what people call it, `deployment/web`, as JSON; all objects of a kind by the kind alone.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn get(&self, object: &str) -> Result<Value> {
        let Some((kind, name)) = object.split_once('/') else {
            let all = self.of_kind(object)?.list(&ListParams::default()).await?;
            return Ok(json!({"items": all.items}));
        };
        let found = self.of_kind(kind)?.get(name).await.with_context(|| format!("cannot read {object}"))?;
        Ok(serde_json::to_value(found)?)
    }

    fn of_kind(&self, name: &str) -> Result<Api<DynamicObject>> {
        let is = |kind: &&Kind| kind.kind.eq_ignore_ascii_case(name) || kind.plural == name;
        let kind = KINDS.iter().find(is).with_context(|| format!("no kind is called {name} here"))?;
        let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
        Ok(self.objects(&ApiResource::from_gvk_with_plural(&gvk, kind.plural)))
    }

    fn objects(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), self.namespace(), resource)
    }
}
