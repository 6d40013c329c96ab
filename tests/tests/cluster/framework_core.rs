//! The framework against a real API server: what it promises of watches, queue, worker and writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trimtab::{
    Controller, ControllerOptions, Manager, ManagerOptions, Meta, Permission, Selector, Store, Watched, Watches,
};
use trimtab_plan::{Answers, Class, Kind, ObjectRef, Outcome, PatchOp, Plan, Propagation, StatusWrite, Verb, Write};
use trimtab_testkit::{TestNamespace, eventually, shared_cluster, with_namespace};

const CONFIG_MAP: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
const DEPLOYMENT: Kind = Kind::namespaced("apps", "v1", "Deployment", "deployments");
const PATIENCE: Duration = Duration::from_secs(30);

/// A ConfigMap; its data tells the controller what to do.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Order {
    metadata: Meta,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl Watched for Order {
    const KIND: Kind = CONFIG_MAP;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// A kind that no server has.
#[derive(Deserialize)]
struct Missing {
    metadata: Meta,
}

impl Watched for Missing {
    const KIND: Kind = Kind::namespaced("nowhere.example", "v1", "Missing", "missings");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// What came of the orders: namespace/name, times reconciled, last outcome. A decision's end is a pure function, so the
/// record is the process's.
static OUTCOMES: Mutex<BTreeMap<String, Vec<Outcome>>> = Mutex::new(BTreeMap::new());

fn outcomes(namespace: &str, name: &str) -> Vec<Outcome> {
    let all = OUTCOMES.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(&format!("{namespace}/{name}")).cloned().unwrap_or_default()
}

struct Orders {
    orders: Store<Order>,
}

impl Controller for Orders {
    const NAME: &'static str = "orders";
    type Key = ObjectRef;
    type Snapshot = Order;
    type Status = ();

    fn permissions(&self) -> Vec<Permission> {
        vec![]
    }

    fn gather(&self, key: &ObjectRef, _: &Answers) -> Option<Order> {
        self.orders.get(&key.namespace, &key.name).map(|order| (*order).clone())
    }

    #[expect(clippy::panic, reason = "a decision that panics is what is tested")]
    fn decide(_: Timestamp, order: &Order) -> Plan<()> {
        let mut plan = Plan::new(());
        let own = order.metadata.object(CONFIG_MAP);
        match order.data.get("do").map(String::as_str) {
            Some("panic") => panic!("as it was ordered"),
            Some("count") => {
                let count: u32 = order.data.get("count").and_then(|count| count.parse().ok()).unwrap_or(0);
                if count < 50 {
                    let ops = vec![
                        PatchOp::test("/data/count", count.to_string()),
                        PatchOp::add("/data/count", (count + 1).to_string()),
                    ];
                    plan.writes.push(Write::patch(own, ops, "count"));
                }
            }
            Some(verb) => plan.writes.extend(one(verb, own)),
            None => {}
        }
        plan
    }

    fn conclude(_: Timestamp, order: &Order, _: &Plan<()>, outcome: &Outcome) -> Option<StatusWrite> {
        let key = format!("{}/{}", order.metadata.namespace, order.metadata.name);
        let mut all = OUTCOMES.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_default().push(outcome.clone());
        None
    }
}

/// One write of each kind that can go wrong.
fn one(verb: &str, own: ObjectRef) -> Option<Write> {
    let other = |name: &str| CONFIG_MAP.object(&own.namespace, name);
    let write = |target: ObjectRef, verb: Verb| Write { target, verb, why: "it was ordered".to_owned() };
    let delete = |uid: &str| Verb::Delete {
        uid: Some(uid.to_owned()),
        resource_version: None,
        propagation: Propagation::Background,
    };
    Some(match verb {
        "patch-with-failing-test" => Write::patch(own, vec![PatchOp::test("/metadata/uid", "another")], "test"),
        "patch-invalid" => Write::patch(own, vec![PatchOp::add("/data/not~1allowed", "x")], "test"),
        "patch-missing" => Write::patch(other("not-there"), vec![PatchOp::add("/data/x", "x")], "test"),
        "create-existing" => Write::create(own, json!({}), "test"),
        "create-over-quota" => Write::create(other("one-too-many"), json!({}), "test"),
        "create-of-no-kind" => {
            Write::create(Missing::KIND.object(&own.namespace, "x"), json!({}), "a kind that is not served")
        }
        "delete-missing" => write(other("not-there"), delete("some-uid")),
        "delete-with-other-uid" => write(own, delete("another")),
        "apply" => write(other("applied"), Verb::Apply { body: json!({ "data": { "a": "b" } }), force: true }),
        "scale" => write(DEPLOYMENT.object(&own.namespace, "web"), Verb::Scale { replicas: 2, from: Some(0) }),
        _ => return None,
    })
}

/// Runs the controller in a namespace for as long as the test takes.
struct Running {
    task: tokio::task::JoinHandle<()>,
    journal: trimtab::journal::Journal,
    metrics: trimtab::metrics::Metrics,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn run(namespace: &TestNamespace, workers: usize, broken: bool) -> Running {
    let options = ManagerOptions { namespaces: vec![namespace.name().to_owned()], ..ManagerOptions::default() };
    let mut manager = Manager::new(namespace.client(), options);
    let options = ControllerOptions { workers, ..ControllerOptions::default() };
    if broken {
        manager.controller(options.clone(), |w: &mut Watches<ObjectRef>| {
            _ = w.watch::<Missing>(Selector::all()).store();
            Orders { orders: w.watch::<Order>(Selector::all()).store() }
        });
    }
    manager.controller(options, |w: &mut Watches<ObjectRef>| {
        let wakes = |order: &Order| vec![order.metadata.object(CONFIG_MAP)];
        Orders { orders: w.watch::<Order>(Selector::all()).wakes(wakes).store() }
    });
    let (journal, metrics) = (manager.journal(), manager.metrics());
    let task = tokio::spawn(async move {
        if let Err(error) = manager.run(std::future::pending::<()>()).await {
            eprintln!("the manager ended: {error}");
        }
    });
    Running { task, journal, metrics }
}

async fn order(namespace: &TestNamespace, name: &str, data: Value) -> Result<()> {
    let map: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": name }, "data": data }))?;
    namespace.api::<ConfigMap>().create(&PostParams::default(), &map).await?;
    Ok(())
}

/// The first outcome of an order.
async fn outcome(namespace: &TestNamespace, name: &str) -> Result<Outcome> {
    let what = format!("the outcome of {name}");
    eventually(&what, PATIENCE, async || Ok(outcomes(namespace.name(), name).into_iter().next())).await
}

/// Gives the order to do something and expects it to fail like this.
async fn fails(namespace: &TestNamespace, what: &str, reason: &str, class: Class) -> Result<()> {
    order(namespace, what, json!({ "do": what })).await?;
    let failed = outcome(namespace, what).await?.failed.with_context(|| format!("{what} did not fail"))?;
    ensure!((failed.reason.as_str(), failed.class) == (reason, class), "{what}: {failed:?}");
    eprintln!("{what}: {}: {}", failed.reason, failed.message);
    Ok(())
}

#[tokio::test]
async fn refusals_of_a_real_server_are_understood() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "refusals", async |namespace| {
        let _running = run(&namespace, 4, false);
        fails(&namespace, "patch-with-failing-test", "Precondition", Class::Transient).await?;
        fails(&namespace, "patch-invalid", "Invalid", Class::Blocked).await?;
        fails(&namespace, "patch-missing", "NotFound", Class::Transient).await?;
        fails(&namespace, "create-existing", "AlreadyExists", Class::Transient).await?;
        fails(&namespace, "create-of-no-kind", "KindNotServed", Class::Blocked).await?;
        fails(&namespace, "delete-with-other-uid", "Precondition", Class::Transient).await?;
        order(&namespace, "delete-missing", json!({ "do": "delete-missing" })).await?;
        let gone = outcome(&namespace, "delete-missing").await?;
        ensure!(gone.failed.is_none() && !gone.applied[0].changed, "{gone:?}");
        // Kubernetes itself puts one into every namespace, when it comes to it: it has to be counted.
        let maps = namespace.api::<ConfigMap>();
        eventually("kube-root-ca.crt", PATIENCE, async || Ok(maps.get_opt("kube-root-ca.crt").await?)).await?;
        // Its order is tried again now and then, and each try is counted by a quota before it is refused.
        maps.delete("create-existing", &DeleteParams::default()).await?;
        let used = maps.list(&Default::default()).await?.items.len();
        let quota =
            json!({ "metadata": { "name": "q" }, "spec": { "hard": { "count/configmaps": (used + 1).to_string() } } });
        let quotas = namespace.api::<ResourceQuota>();
        quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
        eventually("the quota to count", PATIENCE, async || {
            Ok(quotas.get("q").await?.status.and_then(|status| status.used))
        })
        .await?;
        fails(&namespace, "create-over-quota", "ExceededQuota", Class::Blocked).await
    })
    .await
}

#[tokio::test]
async fn an_apply_that_changes_nothing_says_so() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "apply", async |namespace| {
        let _running = run(&namespace, 4, false);
        order(&namespace, "o", json!({ "do": "apply" })).await?;
        ensure!(outcome(&namespace, "o").await?.applied[0].changed);
        let touch = Patch::Merge(json!({ "data": { "again": "1" } }));
        namespace.api::<ConfigMap>().patch("o", &PatchParams::default(), &touch).await?;
        let second =
            eventually("the second apply", PATIENCE, async || Ok(outcomes(namespace.name(), "o").get(1).cloned()))
                .await?;
        ensure!(!second.applied[0].changed, "{second:?}");
        let applied = namespace.api::<ConfigMap>().get("applied").await?;
        let managers: Vec<_> =
            applied.metadata.managed_fields.into_iter().flatten().filter_map(|f| f.manager).collect();
        ensure!(managers == ["trimtab-orders"], "{managers:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_workload_is_scaled_through_its_subresource() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "scale", async |namespace| {
        let _running = run(&namespace, 4, false);
        let labels = json!({ "app": "web" });
        let template =
            json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
        let spec = json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": template });
        let web = serde_json::from_value(json!({ "metadata": { "name": "web" }, "spec": spec }))?;
        namespace.api::<Deployment>().create(&PostParams::default(), &web).await?;
        order(&namespace, "o", json!({ "do": "scale" })).await?;
        let outcome = outcome(&namespace, "o").await?;
        let web = namespace.api::<Deployment>().get("web").await?;
        ensure!(outcome.failed.is_none() && web.spec.and_then(|spec| spec.replicas) == Some(2), "{outcome:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_reconcile_sees_its_own_last_write() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "own-writes", async |namespace| {
        let _running = run(&namespace, 4, false);
        for i in 0..10 {
            order(&namespace, &format!("c{i}"), json!({ "do": "count", "count": "0" })).await?;
        }
        let maps = namespace.api::<ConfigMap>();
        // Others write too, which wakes the keys while the stores are behind.
        for round in 0..20 {
            for i in 0..10 {
                let noise = Patch::Merge(json!({ "metadata": { "annotations": { "noise": round.to_string() } } }));
                maps.patch(&format!("c{i}"), &PatchParams::default(), &noise).await?;
            }
        }
        for i in 0..10 {
            let name = format!("c{i}");
            eventually(&format!("{name} to be counted"), PATIENCE, async || {
                let data = maps.get(&name).await?.data.unwrap_or_default();
                Ok((data.get("count").map(String::as_str) == Some("50")).then_some(()))
            })
            .await?;
            let outcomes = outcomes(namespace.name(), &name);
            let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.failed.as_ref()).collect();
            ensure!(failed.is_empty(), "{name} was decided on a state before its own write: {failed:?}");
            let written = outcomes.iter().filter(|outcome| !outcome.applied.is_empty()).count();
            ensure!(written == 50, "{name} was written {written} times");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_watch_of_a_missing_kind_leaves_the_others_running() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "missing", async |namespace| {
        let _running = run(&namespace, 2, true);
        for i in 0..3 {
            let name = format!("o{i}");
            order(&namespace, &name, json!({})).await?;
            outcome(&namespace, &name).await?;
            // Through several failures of the other watch.
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_panic_harms_no_other() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "panic", async |namespace| {
        let running = run(&namespace, 2, false);
        for i in 0..4 {
            order(&namespace, &format!("bad{i}"), json!({ "do": "panic" })).await?;
        }
        order(&namespace, "good", json!({})).await?;
        outcome(&namespace, "good").await?;
        let why = eventually("the panic in the journal", PATIENCE, async || {
            Ok(running.journal.why("ConfigMap", namespace.name(), "bad0"))
        })
        .await?;
        ensure!(why.decisions[0].error.as_deref() == Some("decide panicked: as it was ordered"), "{why:?}");
        ensure!(running.metrics.render().contains("reconcile_panics_total{controller=\"orders\"} "));
        // What panicked goes on as soon as it is mended.
        let mend = Patch::Merge(json!({ "data": { "do": null } }));
        namespace.api::<ConfigMap>().patch("bad0", &PatchParams::default(), &mend).await?;
        outcome(&namespace, "bad0").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_chatty_object_starves_nobody() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "chatty", async |namespace| {
        let _running = run(&namespace, 1, false);
        order(&namespace, "chatty", json!({})).await?;
        let maps: Api<ConfigMap> = namespace.api();
        let chatter = tokio::spawn(async move {
            for i in 0.. {
                let say = Patch::Merge(json!({ "data": { "i": i.to_string() } }));
                _ = maps.patch("chatty", &PatchParams::default(), &say).await;
            }
        });
        let slowest: Arc<Mutex<Duration>> = Arc::default();
        for i in 0..30 {
            let (name, started) = (format!("quiet{i}"), Instant::now());
            order(&namespace, &name, json!({})).await?;
            outcome(&namespace, &name).await?;
            let mut slowest = slowest.lock().unwrap_or_else(PoisonError::into_inner);
            *slowest = started.elapsed().max(*slowest);
        }
        chatter.abort();
        let slowest = *slowest.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(slowest < Duration::from_secs(2), "one waited for {slowest:?}");
        ensure!(outcomes(namespace.name(), "chatty").len() > 10, "the chatty one was served too");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deleted_object_is_forgotten() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "forget", async |namespace| {
        let running = run(&namespace, 2, false);
        order(&namespace, "o", json!({})).await?;
        let why = async || Ok(running.journal.why("configmap", namespace.name(), "o"));
        eventually("a decision in the journal", PATIENCE, why).await?;
        namespace.api::<ConfigMap>().delete("o", &DeleteParams::default()).await?;
        eventually("the journal to forget it", PATIENCE, async || Ok(why().await?.is_none().then_some(()))).await
    })
    .await
}
