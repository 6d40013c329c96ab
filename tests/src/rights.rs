//! The rights of managers in tests: an account with the roles that are derived for its flags, and no others. What the tests
//! themselves do to a cluster is the administrator's.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use serde_json::{Value, json};
use trimtab_controllers::args::Args;
use trimtab_controllers::permissions::{EXEC_OPTION, Place, ROLLOUTS, Wanted, manifests};
use trimtab_testkit::eventually;

use crate::directly;

/// Longer than any test.
const TOKEN_SECONDS: u64 = 8 * 3600;
const PATIENCE: Duration = Duration::from_secs(30);

/// A kubeconfig of an account that may do exactly what a manager with these arguments needs in this namespace. The file is the
/// caller's to remove.
///
/// # Errors
///
/// If the arguments are not the manager's, or the API server refuses.
pub fn kubeconfig_for(admin: &Path, namespace: &str, arguments: &[&str]) -> Result<PathBuf> {
    let make = || -> Result<PathBuf> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(grant(admin, namespace, arguments))
    };
    // Tests start managers where they cannot wait for a future.
    std::thread::scope(|scope| scope.spawn(make).join()).map_err(|_| anyhow::anyhow!("granting rights panicked"))?
}

/// What a manager with these arguments wants, and where. What no flag tells is granted: tests reload pods without a restart, and
/// Rollouts.
///
/// # Errors
///
/// If the arguments are not the manager's.
pub fn wanted(namespace: &str, arguments: &[&str]) -> Result<(Wanted, Place)> {
    let args = Args::try_parse_from(["trimtab-manager"].iter().chain(arguments))?;
    let mut wanted = Wanted::of(&args);
    wanted.options.extend([EXEC_OPTION, ROLLOUTS]);
    let mut hasher = DefaultHasher::new();
    (&args.controllers, &args.namespaces, args.secrets, &args.lease_name, &wanted.options).hash(&mut hasher);
    let name = format!("{namespace}-manager-{:08x}", hasher.finish() & 0xffff_ffff);
    let namespaces = args.namespaces.into_iter().filter(|one| !one.is_empty()).collect();
    Ok((wanted, Place { name, namespace: namespace.to_owned(), namespaces, lease_name: args.lease_name }))
}

async fn grant(admin: &Path, namespace: &str, arguments: &[&str]) -> Result<PathBuf> {
    let (wanted, place) = wanted(namespace, arguments)?;
    let client = client(admin).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    // It is made last, so what it stands for is there.
    if accounts.get_opt(&place.name).await?.is_none() {
        apply(&client, namespace, &manifests(&wanted, &place)?).await?;
    }
    wait_granted(&client, &wanted, &place).await?;
    let path = std::env::temp_dir().join(format!("{}-{}.kubeconfig", place.name, unique()?));
    std::fs::write(&path, with_token(&client, admin, namespace, &place.name).await?)?;
    Ok(path)
}

/// Gives every account of a namespace a right more, as those do who install other kinds and metrics.
///
/// # Errors
///
/// If the API server refuses it.
pub async fn grant_also(client: &Client, namespace: &str, name: &str, right: (&str, &str, &[&str])) -> Result<()> {
    let (api, (group, resource, verbs)) = ("rbac.authorization.k8s.io", right);
    let accounts = format!("system:serviceaccounts:{namespace}");
    let metadata = json!({ "name": name, "namespace": namespace });
    let role = json!({
        "apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": metadata,
        "rules": [{ "apiGroups": [group], "resources": [resource], "verbs": verbs }],
    });
    let binding = json!({
        "apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": api, "kind": "Role", "name": name },
        "subjects": [{ "apiGroup": api, "kind": "Group", "name": accounts }],
    });
    apply(client, namespace, &[role, binding]).await
}

fn unique() -> Result<u128> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos())
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &Default::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Applies objects; those of the whole cluster go with the namespace.
///
/// # Errors
///
/// If the API server refuses.
pub async fn apply(client: &Client, namespace: &str, objects: &[Value]) -> Result<()> {
    let uid = Api::<Namespace>::all(client.clone()).get(namespace).await?.metadata.uid;
    let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": uid}]);
    for object in objects {
        let mut object: DynamicObject = serde_json::from_value(object.clone())?;
        let types = object.types.clone().context("an object without a kind")?;
        let resource = directly::resource(&types.api_version, &types.kind);
        let name = object.metadata.name.clone().context("an object without a name")?;
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        if object.metadata.namespace.is_none() {
            object.metadata.owner_references = Some(serde_json::from_value(owner.clone())?);
        }
        let params = PatchParams::apply("trimtab-tests").force();
        api.patch(&name, &params, &Patch::Apply(&object)).await.with_context(|| format!("{} {name}", types.kind))?;
    }
    Ok(())
}

/// The API server's own view of roles is a moment late.
async fn wait_granted(client: &Client, wanted: &Wanted, place: &Place) -> Result<()> {
    let namespaces: Vec<Option<&str>> = match place.namespaces.is_empty() {
        true => vec![None],
        false => place.namespaces.iter().map(|one| Some(one.as_str())).collect(),
    };
    let mut questions: Vec<_> = vec![(Some(place.namespace.as_str()), ("coordination.k8s.io", "leases", "create"))];
    questions
        .extend(namespaces.into_iter().flat_map(|one| wanted.grants().ok()?.iter().last().map(|grant| (one, grant))));
    questions.extend(wanted.cluster().iter().last().map(|grant| (None, grant)));
    for (namespace, (group, resource, verb)) in questions {
        eventually("the roles to be in force", PATIENCE, async || {
            let allowed = is_allowed(client, place, namespace, (group, resource, verb)).await?;
            ensure!(allowed, "{verb} {resource}.{group} in {namespace:?} is refused");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

async fn is_allowed(
    client: &Client,
    place: &Place,
    namespace: Option<&str>,
    (group, resource, verb): (&str, &str, &str),
) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({
        "metadata": {},
        "spec": {
            "user": format!("system:serviceaccount:{}:{}", place.namespace, place.name),
            "resourceAttributes": {
                "group": group, "resource": resource, "subresource": subresource, "verb": verb, "namespace": namespace,
            },
        },
    }))?;
    let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The administrator's kubeconfig with an account's token instead of a certificate.
///
/// # Errors
///
/// If the API server gives no token.
pub async fn with_token(client: &Client, admin: &Path, namespace: &str, account: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let spec = json!({ "spec": { "audiences": [], "expirationSeconds": TOKEN_SECONDS } });
    let request: TokenRequest = serde_json::from_value(spec)?;
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    let token = made.status.and_then(|status| status.token).context("the API server gave no token")?;
    let admin = Kubeconfig::read_from(admin)?;
    let cluster = admin.clusters.into_iter().next().and_then(|c| c.cluster).context("no cluster in the kubeconfig")?;
    let context = json!({ "cluster": "it", "user": "it", "namespace": namespace });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": cluster }],
        "users": [{ "name": "it", "user": { "token": token } }],
        "contexts": [{ "name": "it", "context": context }],
    });
    Ok(config.to_string())
}
