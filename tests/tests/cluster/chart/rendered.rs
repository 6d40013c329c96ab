//! What is rendered: the same by both versions of Helm, taken by the API server, small enough, and no more privileged than
//! PodSecurity's strictest.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use trimtab_testkit::{Cluster, with_namespace};
use trimtab_tests::{cluster, workspace};

use trimtab_tests::helm::{Helm, by_name, name, of_kind};

/// All kinds of installations, as values; NS is a namespace that is there.
pub const CASES: [(&str, &str); 12] = [
    ("as it is", "{}"),
    ("for namespaces", "{namespaces: [NS, default], reload: {namespaceSelector: 'team=shop'}, tests: {namespace: NS}}"),
    ("rights by hand", "{rbac: {create: false}, serviceAccount: {create: false, name: by-hand}}"),
    ("releases alone", "{controllers: {config: {enabled: false}, reload: {enabled: false}, scale: {enabled: false}}}"),
    (
        "autoscaling alone",
        "{controllers: {release: {enabled: false}, config: {enabled: false}, reload: {enabled: false}}}",
    ),
    ("without Secrets", "{secrets: {enabled: false}, namespaces: [NS], uninstall: {mode: leave}}"),
    (
        "with all there is",
        "{metrics: {podMonitor: {enabled: true, interval: 15s, labels: {team: a}}, prometheusRule: {enabled: true, labels: {a: b}, \
         alertLabels: {team: ops}}, grafanaDashboard: {enabled: true, annotations: {folder: ops}}}, reload: {exec: true, \
         rollouts: true, ignoredNamespaces: [kube-system], all: true}, autoscaler: {customMetrics: [pods/rps], externalMetrics: \
         [queue_depth], targets: [{group: example.dev, resource: workers}]}, commonLabels: {owner: ops}, commonAnnotations: \
         {note: 'it is: here'}, crds: {annotations: {a: b}}}",
    ),
    ("monitored through its Service", "{metrics: {serviceMonitor: {enabled: true, scrapeTimeout: 5s, interval: 10s}}}"),
    ("one that leads alone", "{replicas: 1, leaderElection: {enabled: false}, metrics: {enabled: false}}"),
    (
        "in an unusual place",
        "{image: {registry: registry.example.com:5000, repository: tools/trimtab, digest: \
         'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', pullPolicy: Always}, imagePullSecrets: [{name: \
         pull}], fullnameOverride: steering, serviceAccount: {create: false, name: default}, priorityClassName: \
         system-cluster-critical, tolerations: [{key: a, operator: Exists}], nodeSelector: {disk: fast}, affinity: {nodeAffinity: \
         {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: \
         Exists}]}}]}}, topologySpreadConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule, \
         labelSelector: {matchLabels: {a: b}}}]}",
    ),
    (
        "shut in",
        "{networkPolicy: {metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}], egress: [{ports: [{port: 443}]}]}, \
         extraEnv: [{name: A, value: b}], extraVolumes: [{name: tmp, emptyDir: {}}], extraVolumeMounts: [{name: tmp, mountPath: \
         /tmp}], extraArgs: ['--reload-on-create'], extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: more}, data: \
         {release: '{{ .Release.Name }}'}}]}",
    ),
    (
        "without what others install",
        "{crds: {install: false}, policies: {install: false}, uninstall: {enabled: false}, rbac: {userRoles: {create: false}}, tests: {enabled: false}, pdb: \
         {enabled: false}, networkPolicy: {enabled: false}}",
    ),
];

/// Kinds that the cluster of the tests does not have.
const ELSEWHERE: &str = "monitoring.coreos.com/v1";

fn values(case: &str, namespace: &str) -> String {
    case.replace("NS", namespace)
}

#[tokio::test]
async fn both_versions_render_the_same_and_the_api_server_takes_every_object() -> Result<()> {
    let cluster = cluster().await?;
    let client = cluster.client().await?;
    let [three, four] = Helm::both().await?;
    with_namespace(&client, "chart", async |ns| {
        for (case, text) in CASES {
            let values = values(text, ns.name());
            let by_three = three.template_in(ns.name(), &values).await.context(case)?;
            let by_four = four.template_in(ns.name(), &values).await.context(case)?;
            ensure!(by_three == by_four, "{case}: Helm 3 and Helm 4 render different objects");
            let (known, rest): (Vec<_>, Vec<_>) = by_three.into_iter().partition(|o| o["apiVersion"] != ELSEWHERE);
            ensure!(!known.is_empty(), "{case}: nothing is rendered");
            every_account_has_rights(&known).context(case)?;
            dry_run(&cluster, &known).await.with_context(|| format!("{case}: {values}"))?;
            rest.iter().try_for_each(monitoring).context(case)?;
        }
        Ok(())
    })
    .await
}

/// No pod runs under an account that the chart makes and binds nothing to: what it does would be refused, a hook's too.
fn every_account_has_rights(objects: &[Value]) -> Result<()> {
    let bound = |account: &Value| {
        let subjects = objects.iter().filter_map(|object| object["subjects"].as_array()).flatten();
        subjects.into_iter().any(|subject| subject["name"] == *account)
    };
    let made = |account: &Value| {
        of_kind(objects, "ServiceAccount").into_iter().any(|made| made["metadata"]["name"] == *account)
    };
    let pods = objects.iter().flat_map(|object| [&object["spec"], &object["spec"]["template"]["spec"]]);
    for account in pods.map(|pod| &pod["serviceAccountName"]).filter(|account| account.is_string()) {
        // One that is made elsewhere has its rights from there.
        ensure!(bound(account) || (!made(account) && account == "by-hand"), "nothing is bound to {account}");
    }
    Ok(())
}

/// Has the API server validate and admit all objects without keeping them.
async fn dry_run(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let mut child = tokio::process::Command::new(cluster.kubectl())
        .args(["apply", "--server-side", "--force-conflicts", "--field-manager=chart-test", "--dry-run=server"])
        .args(["--validate=strict", "-f", "-"])
        .env("KUBECONFIG", cluster.kubeconfig())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(list.as_bytes()).await?;
    drop(stdin);
    let out = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&out.stderr);
    // A pod whose ServiceAccount is part of the same dry run cannot be admitted: it is not there.
    let lines = said.lines().filter(|line| !line.is_empty() && !line.starts_with("Warning"));
    let serious: Vec<_> = lines.filter(|line| !(line.contains("pods") && line.contains("serviceaccount"))).collect();
    ensure!(serious.is_empty(), "{}", serious.join("\n"));
    Ok(())
}

/// The fields that the Prometheus operator's kinds have, as far as the chart uses them.
fn monitoring(object: &Value) -> Result<()> {
    let spec = object["spec"].as_object().context("no spec")?;
    let allowed: &[&str] = match object["kind"].as_str() {
        Some("ServiceMonitor") => &["selector", "endpoints"],
        Some("PodMonitor") => &["selector", "podMetricsEndpoints"],
        Some("PrometheusRule") => &["groups"],
        other => anyhow::bail!("{other:?} is no kind of the Prometheus operator that this test knows"),
    };
    ensure!(spec.keys().all(|key| allowed.contains(&key.as_str())), "{}: {spec:?}", name(object));
    let endpoints = spec.get("endpoints").or(spec.get("podMetricsEndpoints"));
    for endpoint in endpoints.into_iter().flat_map(|list| list.as_array().into_iter().flatten()) {
        let known = ["port", "path", "honorLabels", "interval", "scrapeTimeout", "relabelings", "metricRelabelings"];
        let fields = endpoint.as_object().context("an endpoint is an object")?;
        ensure!(fields.keys().all(|key| known.contains(&key.as_str())), "{}: {endpoint}", name(object));
        ensure!(endpoint["port"] == "metrics", "{}: {endpoint}", name(object));
    }
    Ok(())
}

#[tokio::test]
async fn the_pods_pass_the_strictest_pod_security() -> Result<()> {
    let client = cluster().await?.client().await?;
    let [helm, _] = Helm::both().await?;
    with_namespace(&client, "chart-restricted", async |ns| {
        let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let namespaces: Api<Namespace> = Api::all(ns.client());
        namespaces.patch(ns.name(), &PatchParams::default(), &Patch::Merge(labels)).await?;
        let objects = helm.template_in(ns.name(), "{}").await?;
        for account in of_kind(&objects, "ServiceAccount") {
            let account: ServiceAccount = serde_json::from_value(account.clone())?;
            ns.api::<ServiceAccount>().create(&PostParams::default(), &account).await?;
        }
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let mut pods: Vec<Value> = of_kind(&objects, "Pod").into_iter().cloned().collect();
        for kind in ["Deployment", "Job"] {
            for object in of_kind(&objects, kind) {
                let mut pod = object["spec"]["template"].clone();
                pod["metadata"]["name"] = kind.to_lowercase().into();
                pods.push(pod);
            }
        }
        ensure!(pods.len() == 3, "the manager, the test and the way out: {}", pods.len());
        for pod in &mut pods {
            let parsed: Pod = serde_json::from_value(pod.clone())?;
            ns.api::<Pod>().create(&dry, &parsed).await.with_context(|| format!("{pod}"))?;
            // The test is one only if it can fail.
            pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
            let parsed: Pod = serde_json::from_value(pod.clone())?;
            ensure!(ns.api::<Pod>().create(&dry, &parsed).await.is_err(), "a privileged pod was let in");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_kinds_are_those_of_the_sources_and_no_larger_than_kubectl_can_apply() -> Result<()> {
    let [helm, _] = Helm::both().await?;
    let rendered = by_name(helm.template("{}").await?);
    let mut kinds = 0;
    for entry in std::fs::read_dir(workspace().join("crds"))? {
        let path = entry?.path();
        if path.extension() != Some("yaml".as_ref()) {
            continue;
        }
        for source in trimtab_tests::helm::objects(&std::fs::read_to_string(&path)?)? {
            let ours =
                rendered.get(&name(&source)).with_context(|| format!("{} is not in the chart", name(&source)))?;
            ensure!(same(&ours["spec"], &source["spec"]), "{} is not as in {}", name(&source), path.display());
            ensure!(ours["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", "{}", name(&source));
            // What kubectl keeps of an object that it applies is an annotation, and those end at 256 KiB.
            let size = serde_json::to_vec(ours)?.len();
            ensure!(size < 256_000, "{} has {size} bytes", name(&source));
            kinds += 1;
        }
    }
    ensure!(kinds >= 12, "only {kinds} objects were found beside crds/");
    let gone = helm.template("{crds: {keep: false}, policies: {keep: false}}").await?;
    let kept = gone.iter().any(|o| o["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep");
    ensure!(!kept, "with keep: false something is kept");
    Ok(())
}

/// Equal, but for how a number is written: templates have one sort of numbers only.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

#[tokio::test]
async fn what_controllers_write_is_not_in_the_chart() -> Result<()> {
    let [helm, _] = Helm::both().await?;
    for object in helm.template("{}").await? {
        ensure!(object.get("status").is_none(), "{} has a status", name(&object));
        ensure!(
            !["Secret", "Lease", "Namespace"].contains(&object["kind"].as_str().unwrap_or_default()),
            "{}",
            name(&object)
        );
        let conversion = &object["spec"]["conversion"];
        ensure!(conversion["webhook"].is_null(), "{} has a webhook's certificate", name(&object));
    }
    Ok(())
}
