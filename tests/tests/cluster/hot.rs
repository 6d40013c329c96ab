//! A pod that reads its configuration again while it runs, on a real node: files, programs in its container, signals, requests.
//! Nodes that only say that pods run have no files. When a pod is told is not tested here: that is for whoever asks.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use trimtab::metrics::Metrics;
use trimtab::{ExecError, Reader};
use trimtab_controllers::reload;
use trimtab_crds::names;
use trimtab_plan::Answer;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Shape, with_app};

/// A kubelet asks for ConfigMaps again every few seconds here, and is in no hurry on a busy machine.
const SECONDS: u32 = 60;
/// More than fits into one message of an exec, and than a pipe holds.
const LARGE: usize = 300_000;

const HUP: &str = r#"{"signal": {"container": "web", "signal": "HUP"}}"#;
const POST: &str = r#"{"http": {"port": 8080, "path": "/-/reload"}}"#;

fn shape() -> Shape {
    Shape { replicas: 1, with_plan: false, ..Shape::default() }
}

/// One pod that reads its configuration when it is told to.
struct Told {
    app: App,
    reader: Reader,
}

impl Told {
    async fn new(app: &App) -> Result<Self> {
        let told = Self { app: app.clone(), reader: Reader::new(app.cluster_client().await?, Metrics::new()) };
        told.set("one").await?;
        app.kubectl(&["create", "secret", "generic", "db", "--from-literal=password=one"]).await?;
        let large: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "large"}, "data": {"text": "0123456789".repeat(LARGE / 10)}}))?;
        app.api().create(&PostParams::default(), &large).await?;
        let patch = json!({"spec": {"template": {"spec": {
            "volumes": [
                {"name": "web", "configMap": {"name": "web"}},
                {"name": "large", "configMap": {"name": "large"}},
                {"name": "db", "secret": {"secretName": "db", "items": [{"key": "password", "path": "sub/secret"}]}}],
            "containers": [{"name": "web",
                "env": [{"name": "CONFIG_FILE", "value": "/etc/web/app.conf"}, {"name": "RELOAD", "value": "manual"}],
                "volumeMounts": [
                    {"name": "web", "mountPath": "/etc/web"},
                    {"name": "large", "mountPath": "/etc/large"},
                    {"name": "db", "mountPath": "/etc/db"}]}]}}}});
        app.kubectl(&["patch", "deployment/web", "-p", &patch.to_string()]).await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
        eventually("one pod", Duration::from_secs(60), async || Ok((app.pods().await?.len() == 1).then_some(())))
            .await?;
        Ok(told)
    }

    async fn set(&self, value: &str) -> Result<()> {
        let yaml = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{app.conf: \"{value}\", extra: \"{value}\\n\\n\"}}\n\
             binaryData: {{blob: /wCA}}\n"
        );
        self.app.apply(&yaml).await.map(drop)
    }

    async fn pod(&self) -> Result<Pod> {
        self.app.pods().await?.into_iter().next().context("no pod")
    }

    async fn version(&self, source: &str) -> Result<String> {
        self.app.kubectl(&["get", source, "-o=jsonpath={.metadata.resourceVersion}"]).await
    }

    /// The question as it would be asked now.
    async fn question(&self, action: &str, verify: bool) -> Result<Value> {
        let pod = self.pod().await?;
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("no address")?;
        let mount = async |source: &str, path: &str, items: Value| -> Result<Value> {
            let version = self.version(source).await?;
            Ok(json!({"source": source, "resourceVersion": version, "container": "web", "path": path, "items": items}))
        };
        let verify = json!({"port": 8080, "path": "/", "source": "cm/web", "key": "app.conf"})
            .as_object()
            .filter(|_| verify)
            .cloned();
        Ok(json!({
            "namespace": self.app.namespace(), "pod": pod.name_any(), "uid": pod.uid(), "ip": ip,
            "action": serde_json::from_str::<Value>(action)?, "verify": verify, "timeoutSeconds": SECONDS,
            "mounts": [
                mount("cm/web", "/etc/web", Value::Null).await?,
                mount("cm/large", "/etc/large/", json!({"text": "text"})).await?,
                mount("secret/db", "/etc/db", json!({"password": "sub/secret"})).await?],
        }))
    }

    async fn ask(&self, question: Value) -> Answer {
        let answer = reload::answerer().answer(self.reader.clone(), "hot-reload", question).await;
        println!("answered: {answer:?}");
        answer
    }

    /// Asks for a reload, and makes sure that it is done without a restart.
    async fn reload(&self, action: &str, verify: bool, shown: &str) -> Result<()> {
        let before = self.pod().await?;
        let answer = self.ask(self.question(action, verify).await?).await;
        ensure!(matches!(&answer, Answer::Object(done) if done["reloaded"] == true), "{answer:?}");
        let after = self.pod().await?;
        ensure!(after.uid() == before.uid() && restarts(&after) == 0, "the pod is not the same");
        let config = self.shown().await?;
        ensure!(config == shown, "it reads {config:?}, not {shown:?}");
        Ok(())
    }

    /// What the process has read.
    async fn shown(&self) -> Result<String> {
        let (namespace, pod) = (self.app.namespace(), self.pod().await?.name_any());
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:8080/proxy/");
        let client = self.app.cluster_client().await?;
        let text = client.request_text(http::Request::get(path).body(vec![])?).await?;
        Ok(serde_json::from_str::<Value>(&text)?["config"].as_str().context("no configuration")?.to_owned())
    }

    /// Runs `cat` or something else.
    async fn exec(
        &self,
        reader: &Reader,
        container: &str,
        command: &[&str],
    ) -> Result<Result<(i32, usize), ExecError>> {
        let pod = names::POD.object(self.app.namespace(), &self.pod().await?.name_any());
        let command = command.iter().map(ToString::to_string).collect();
        let ran = reader.exec(&pod, container, command, LARGE).await;
        Ok(ran.map(|ended| (ended.code, ended.stdout.len())))
    }
}

fn restarts(pod: &Pod) -> i32 {
    let all = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
    all.map(|container| container.restart_count).sum()
}

fn why(answer: &Answer) -> &str {
    match answer {
        Answer::Failed(why) => why,
        _ => "no failure",
    }
}

#[tokio::test]
async fn a_pod_reads_its_new_configuration_without_a_restart() {
    with_app("hot", shape(), |app| async move {
        if !app.real {
            println!("skipped: these nodes are simulated, so pods have no files; run it with --nodes real");
            return Ok(());
        }
        let told = Told::new(&app).await?;
        // It does not look by itself.
        told.set("two").await?;
        app.kubectl(&["patch", "secret/db", "-p", r#"{"stringData": {"password": "two"}}"#]).await?;
        let old = told.question(HUP, false).await?;
        told.reload(HUP, false, "two").await?;
        let password = told.exec(&told.reader, "web", &["cat", "/etc/db/sub/secret"]).await?;
        ensure!(password == Ok((0, 3)), "{password:?}");
        told.set("three").await?;
        let answer = told.ask(old).await;
        ensure!(answer == Answer::Object(json!({"changed": true})), "{answer:?}");
        told.reload(POST, false, "three").await?;
        told.set("four").await?;
        told.reload(HUP, true, "four").await?;
        told.set("five").await?;
        told.reload(POST, true, "five").await?;
        // Asked a second time, by somebody who did not hear the answer.
        told.reload(POST, true, "five").await?;
        // What was shown before holds it, too.
        told.set("fiv").await?;
        told.reload(HUP, true, "fiv").await
    })
    .await;
}

#[tokio::test]
async fn a_reload_that_harms_the_pod_has_failed() {
    with_app("hot-crash", shape(), |app| async move {
        if !app.real {
            println!("skipped: these nodes are simulated, so pods have no processes; run it with --nodes real");
            return Ok(());
        }
        let told = Told::new(&app).await?;
        told.set("crash").await?;
        let refused = told.ask(told.question(POST, false).await?).await;
        ensure!(why(&refused).contains("/-/reload answered 500"), "{refused:?}");
        ensure!(told.shown().await? == "one", "it did not keep what it had");
        let ended = told.ask(told.question(HUP, false).await?).await;
        ensure!(why(&ended).starts_with("container web ended after it was told to reload"), "{ended:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_exec_says_why_it_did_not_run() {
    with_app("hot-exec", shape(), |app| async move {
        if !app.real {
            println!("skipped: these nodes are simulated, so pods have no programs; run it with --nodes real");
            return Ok(());
        }
        let told = Told::new(&app).await?;
        let ran = told.exec(&told.reader, "web", &["cat", "/etc/large/text"]).await?;
        ensure!(ran == Ok((0, LARGE)), "{ran:?}");
        let ran = told.exec(&told.reader, "web", &["cat", "/etc/large/text", "/etc/web/app.conf"]).await?;
        ensure!(ran == Err(ExecError::TooLong(LARGE)), "{ran:?}");
        let ran = told.exec(&told.reader, "web", &["cat", "/nowhere"]).await?;
        ensure!(ran == Ok((1, 0)), "{ran:?}");
        for absent in ["nothing", "/bin/nothing"] {
            let ran = told.exec(&told.reader, "web", &[absent]).await?;
            ensure!(ran == Err(ExecError::NoProgram), "{ran:?}");
        }
        let ran = told.exec(&told.reader, "db", &["cat"]).await?;
        ensure!(matches!(&ran, Err(ExecError::Other(why)) if why.contains("container")), "{ran:?}");
        let pod = names::POD.object(app.namespace(), "gone");
        let ran = told.reader.exec(&pod, "web", vec!["cat".to_owned()], 1).await;
        ensure!(ran == Err(ExecError::NoPod), "{ran:?}");
        check_time_out(&told).await?;
        check_rights(&app, &told).await
    })
    .await;
}

/// Files that never become new are told by their paths, and the process is left alone.
async fn check_time_out(told: &Told) -> Result<()> {
    let mut asked = told.question(HUP, false).await?;
    asked["timeoutSeconds"] = json!(6);
    asked["mounts"][0]["path"] = json!("/nowhere");
    let answer = told.ask(asked.clone()).await;
    let says =
        "after 4 s, file /nowhere/app.conf of container web (cm/web) cannot be read: cat ended with code 1: check";
    ensure!(why(&answer).starts_with(says), "{answer:?}");
    // A file that another key is in.
    asked["mounts"][0]["path"] = json!("/etc/web");
    asked["mounts"][0]["items"] = json!({"extra": "app.conf"});
    let answer = told.ask(asked).await;
    let says = "after 4 s, file /etc/web/app.conf of container web (cm/web) is not yet that of the API server: check";
    ensure!(why(&answer).starts_with(says), "{answer:?}");
    let log = told.app.kubectl(&["logs", "deployment/web"]).await?;
    ensure!(!log.contains("read again"), "the process was told");
    Ok(())
}

/// Who may read everything, but not run programs, is told what to ask for.
async fn check_rights(app: &App, told: &Told) -> Result<()> {
    let rules = "--resource=pods,configmaps,secrets,pods/exec";
    app.kubectl(&["create", "role", "reads", "--verb=get", rules]).await?;
    app.kubectl(&["create", "rolebinding", "reads", "--role=reads", "--user=reader"]).await?;
    let mut kubeconfig = Kubeconfig::read_from(app.kubeconfig())?;
    for user in &mut kubeconfig.auth_infos {
        user.auth_info.get_or_insert_default().impersonate = Some("reader".to_owned());
    }
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = trimtab::client(config)?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), app.namespace());
    let name = told.pod().await?.name_any();
    eventually("the role to count", Duration::from_secs(30), async || Ok(Some(pods.get(&name).await?))).await?;
    let reader = Reader::new(client, Metrics::new());
    let ran = told.exec(&reader, "web", &["cat", "/etc/web/app.conf"]).await?;
    ensure!(matches!(&ran, Err(ExecError::Forbidden(_))), "{ran:?}");
    let asked = told.question(HUP, false).await?;
    let answer = reload::answerer().answer(reader, "hot-reload", asked).await;
    let says =
        format!("the manager may not create pods/exec in {}: grant it get and create of pods/exec", app.namespace());
    ensure!(why(&answer).starts_with(&says), "{answer:?}");
    Ok(())
}

/// The whole way: annotations, a change, and a process that has read it; no pod is made anew.
#[tokio::test]
async fn an_annotated_workload_reads_a_change_without_a_restart_and_is_restarted_where_that_fails() {
    with_app("hot-whole", shape(), |app| async move {
        if !app.real {
            println!("skipped: simulated pods read nothing");
            return Ok(());
        }
        let told = Told::new(&app).await?;
        let _manager = app.manager_with(None, &["--controllers=reload", "--config-quiet-period=0s"])?;
        let annotate = async |more: &[&str]| -> Result<()> {
            let line = ["annotate", "deployment/web", "--overwrite", "trimtab.dev/reload=auto"];
            app.kubectl(&[line.as_slice(), more].concat()).await?;
            app.wait_noted("deployment/web").await
        };
        annotate(&[
            "trimtab.dev/reload-mode=http",
            "trimtab.dev/reload-http=:8080/-/reload",
            "trimtab.dev/reload-verify=:8080/=cm/web:app.conf",
        ])
        .await?;
        let pod = told.pod().await?.uid();
        let record = async || {
            app.kubectl(&["get", "deployment/web", "-o=jsonpath={.metadata.annotations.trimtab\\.dev/reload-applied}"])
                .await
        };
        let change = async |value: &str| -> Result<()> {
            let before = record().await?;
            told.set(value).await?;
            eventually("the change to be noted", Duration::from_secs(120), async || {
                Ok((record().await? != before).then_some(()))
            })
            .await
        };
        let reads = async |value: &str| {
            eventually(&format!("the pod to read {value}"), Duration::from_secs(120), async || {
                let shown = told.shown().await?;
                ensure!(shown == value, "it reads {shown}");
                Ok(Some(()))
            })
            .await
        };
        change("two").await?;
        reads("two").await?;
        ensure!(told.pod().await?.uid() == pod, "the pod was made anew");
        annotate(&["trimtab.dev/reload-mode=signal", "trimtab.dev/reload-signal=web:HUP"]).await?;
        change("three").await?;
        reads("three").await?;
        ensure!(told.pod().await?.uid() == pod, "the pod was made anew");
        // Nothing answers there, so it is restarted.
        annotate(&["trimtab.dev/reload-mode=http", "trimtab.dev/reload-http=:9/nothing"]).await?;
        told.set("four").await?;
        eventually("the workload to be restarted", Duration::from_secs(120), async || {
            Ok((told.pod().await?.uid() != pod).then_some(()))
        })
        .await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
        let events = app.kubectl(&["get", "events.events.k8s.io", "-o=jsonpath={.items[*].note}"]).await?;
        ensure!(events.contains("have read"), "{events}");
        ensure!(events.contains("did not read"), "{events}");
        Ok(())
    })
    .await;
}
