//! A cluster's handle: starting it, connecting to it, ending it. What its processes are is in other modules.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{DynamicObject, ListParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};

use trimtab_parts::{Assets, paths, source};

use crate::certs::Authority;
use crate::control_plane::{self, Place};
use crate::keeper::{self, Isolation, Keeper, Process};
use crate::metrics_server::{self, MetricsServer};
use crate::objects;
use crate::options::{ClusterOptions, Extra, Nodes};
use crate::prometheus::{self, Sample};
use crate::{real, simulated, tools};

/// How long a cluster may take from its first process to its last node being ready.
const PATIENCE: Duration = Duration::from_secs(90);

/// A Kubernetes cluster. One that was started attached ends when this value is dropped, and when this process ends in whatever way.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    record: Record,
    /// The folder of a cluster that the testkit started; none for any other.
    dir: Option<PathBuf>,
    /// Whether ending it is this handle's to do.
    owned: bool,
    keeper: Option<Keeper>,
}

/// What is written beside a cluster's kubeconfig.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) nodes: Nodes,
    pub(crate) kubectl: PathBuf,
    #[serde(default)]
    pub(crate) with: Vec<Extra>,
    #[serde(default)]
    pub(crate) prometheus: Option<String>,
}

impl Cluster {
    /// Starts a cluster that stays up after this process has ended, kept under its name; `down` ends it. One that is up already is
    /// returned as it is.
    pub async fn up(o: ClusterOptions) -> Result<Cluster> {
        o.check()?;
        if let Some(existing) = existing()? {
            return Ok(existing);
        }
        let folder = paths::clusters()?;
        let lock = std::fs::File::create(folder.join(format!(".{}.lock", o.name)))?;
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
        let dir = folder.join(&o.name);
        if keeper::alive(&dir) {
            let mut cluster = Self::connect(&dir.join("kubeconfig"))?;
            cluster.owned = true;
            let first = format!("take it down first (`trimtab local down --name {}`)", o.name);
            if cluster.nodes() != o.nodes {
                bail!("the cluster {} is up with {} nodes: {first}", o.name, cluster.nodes());
            }
            if let Some(missing) = o.with.iter().find(|extra| !cluster.record.with.contains(extra)) {
                bail!("the cluster {} is up without {missing}: {first}", o.name);
            }
            return Ok(cluster);
        }
        let mut cluster = boot(&o, &dir, false).await?;
        if let Some(keeper) = cluster.keeper.take() {
            keeper.detach();
        }
        drop(lock);
        Ok(cluster)
    }

    /// Starts a cluster that ends with this process, also when this process is killed. Nothing of it stays.
    pub async fn start(o: ClusterOptions) -> Result<Cluster> {
        o.check()?;
        if let Some(existing) = existing()? {
            return Ok(existing);
        }
        let runs = paths::runs()?;
        sweep(&runs);
        boot(&o, &runs.join(paths::random()), true).await
    }

    /// A cluster that is there, by its kubeconfig. Nothing is asked of it yet, and `down` leaves it as it is.
    pub fn connect(kubeconfig: &Path) -> Result<Cluster> {
        let kubeconfig = std::path::absolute(kubeconfig)?;
        anyhow::ensure!(kubeconfig.exists(), "there is no kubeconfig at {}", kubeconfig.display());
        let dir = kubeconfig.parent().map(Path::to_owned);
        let written = dir.as_ref().and_then(|d| std::fs::read(d.join("cluster.json")).ok());
        if let Some(record) = written.and_then(|raw| serde_json::from_slice(&raw).ok()) {
            return Ok(Cluster { kubeconfig, record, dir, owned: false, keeper: None });
        }
        let kubectl = trimtab_parts::lookup("kubectl", |v| std::env::var_os(v), |p| p.exists())
            .unwrap_or_else(|| "kubectl".into());
        // A cluster that is not ours has nodes that run pods, unless it was said otherwise.
        let nodes = std::env::var(crate::NODES_ENV).ok().and_then(|n| n.parse().ok()).unwrap_or(Nodes::Real);
        let record = Record { name: "existing".into(), nodes, kubectl, with: Vec::new(), prometheus: None };
        Ok(Cluster { kubeconfig, record, dir: None, owned: false, keeper: None })
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder of a cluster that the testkit started, whoever started it.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// A kubectl of the cluster's own version.
    pub fn kubectl(&self) -> &Path {
        &self.record.kubectl
    }

    /// What its pods run on.
    pub fn nodes(&self) -> Nodes {
        self.record.nodes
    }

    /// Where Prometheus answers, as a URL, if the cluster was started with it.
    pub fn prometheus(&self) -> Option<&str> {
        self.record.prometheus.as_deref()
    }

    /// The values that a query in Prometheus' language has now. An error where there is no Prometheus.
    pub async fn query(&self, promql: &str) -> Result<Vec<Sample>> {
        let url = self.prometheus().context("this cluster has no Prometheus: start it with `Extra::Prometheus`")?;
        prometheus::query(url.trim_start_matches("http://"), promql).await
    }

    /// The audit log of a cluster that was started strict: a JSON object a line, one for each request of a ServiceAccount.
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(control_plane::AUDIT_LOG)).filter(|log| log.exists())
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<kube::Client> {
        client(&self.kubeconfig).await
    }

    /// Puts the images of an OCI archive (`trimtab-image` makes them) onto the real node, and gives their
    /// names there. An error on simulated nodes.
    pub async fn load_image(&self, archive: &Path) -> Result<Vec<String>> {
        if self.nodes() == Nodes::Simulated {
            bail!(
                "the nodes of {} are simulated: they run nothing, so they take no images, and any name will do in a pod there; \
                 for pods that really run start a cluster with `trimtab local up --nodes real`",
                self.name()
            );
        }
        match &self.dir {
            Some(dir) => real::load_image(dir, archive).await,
            None => bail!("this cluster is not one of ours: push the image to a registry that its nodes pull from"),
        }
    }

    /// Ends the cluster and removes everything that it kept. One that this handle only connected to is left alone.
    pub async fn down(mut self) -> Result<()> {
        let (keeper, dir) = (self.keeper.take(), self.dir.take().filter(|_| self.owned));
        let Some(dir) = dir else { return Ok(()) };
        tokio::task::spawn_blocking(move || {
            if let Some(keeper) = keeper {
                keeper.stop();
            }
            take_down(&dir)
        })
        .await?
    }
}

/// Ends whatever lives in a cluster's folder, and removes the folder.
pub(crate) fn take_down(dir: &Path) -> Result<()> {
    keeper::stop(dir)?;
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The cluster that the environment asks for in place of one of ours.
fn existing() -> Result<Option<Cluster>> {
    if !std::env::var("USE_EXISTING_CLUSTER").is_ok_and(|v| matches!(v.as_str(), "true" | "1")) {
        return Ok(None);
    }
    let path = match std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => {
            std::env::home_dir().context("USE_EXISTING_CLUSTER is set: set KUBECONFIG as well")?.join(".kube/config")
        }
    };
    Cluster::connect(&path).map(Some)
}

/// Removes what clusters left whose keeper was killed.
fn sweep(runs: &Path) {
    for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
        let dir = entry.path();
        // A folder without a lock may be another process's that is about to start.
        let old = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().is_ok_and(|e| e > Duration::from_secs(300)));
        if old && !keeper::alive(&dir) {
            let _ = std::fs::remove_dir_all(&dir);
        }
    }
}

async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let text = Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(text, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Boots in the folder. A port or an address that somebody else took in the meantime is answered by another try.
async fn boot(o: &ClusterOptions, dir: &Path, attached: bool) -> Result<Cluster> {
    let mut parts = match o.nodes {
        Nodes::Simulated => source::SIMULATED,
        Nodes::Real => source::REAL,
    }
    .to_vec();
    for (extra, part) in [(Extra::Metrics, source::METRICS_SERVER), (Extra::Prometheus, source::PROMETHEUS)] {
        parts.extend(o.with.contains(&extra).then_some(part));
    }
    if o.nodes == Nodes::Real {
        real::check()?;
    }
    let assets = tools::ensure(parts).await?;
    let mut tries = 0;
    loop {
        tries += 1;
        match boot_once(o, dir, attached, &assets).await {
            Ok(cluster) => return Ok(cluster),
            Err(e) if tries < 4 && format!("{e:#}").contains("address already in use") => {
                tracing::debug!("the cluster's address was taken, trying another: {e:#}");
            }
            Err(e) => return Err(e),
        }
    }
}

async fn boot_once(o: &ClusterOptions, dir: &Path, attached: bool, assets: &Assets) -> Result<Cluster> {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let authority = Authority::new()?;
    let Plan { place, mut processes, isolation, kubelets } = match o.nodes {
        Nodes::Simulated => {
            let place = loopback(o, dir)?;
            let kubelets = simulated::kubelets(&place, !o.with.is_empty())?;
            let mut processes = control_plane::processes(assets, &place)?;
            processes.push(simulated::process(assets, &place, dir, &authority, kubelets.as_ref())?);
            Plan { place, processes, isolation: None, kubelets }
        }
        Nodes::Real => real::plan(o, assets, dir, &authority)?,
    };
    control_plane::write_identities(dir, &place, &authority)?;
    control_plane::write_policies(dir, &place)?;
    let mut extras = Extras { kubelets, ..Default::default() };
    if let Some(kubelets) = &extras.kubelets {
        if o.with.contains(&Extra::Metrics) {
            let server = MetricsServer::plan(&place, &authority)?;
            processes.push(server.process(assets, &place, dir, &authority, kubelets)?);
            extras.metrics = Some(server);
        }
        if o.with.contains(&Extra::Prometheus) {
            let address = prometheus::address(&place)?;
            processes.push(prometheus::process(assets, &place, dir, &authority, kubelets, &address)?);
            extras.prometheus = Some(address);
        }
    }
    let record = Record {
        name: o.name.clone(),
        nodes: o.nodes,
        kubectl: assets.path(source::KUBECTL)?.to_owned(),
        with: o.with.clone(),
        prometheus: extras.prometheus.as_ref().map(|address| format!("http://{address}")),
    };
    std::fs::write(dir.join("cluster.json"), serde_json::to_vec_pretty(&record)?)?;
    let program = assets.path(source::KEEPER)?;
    let mut keeper = keeper::start(program, dir, attached, isolation.as_ref(), &processes)?;
    let kubeconfig = dir.join("kubeconfig");
    settle(o, &kubeconfig, dir, assets, &extras, &mut keeper).await?;
    Ok(Cluster { kubeconfig, record, dir: Some(dir.to_owned()), owned: true, keeper: Some(keeper) })
}

/// What a cluster is made of, ready for the keeper.
pub(crate) struct Plan {
    pub(crate) place: Place,
    pub(crate) processes: Vec<Process>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) kubelets: Option<Kubelets>,
}

/// Where the nodes' kubelets serve resource metrics, on the address of each.
pub(crate) struct Kubelets {
    pub(crate) port: u16,
    /// The path, with `NODE` in the place of the node's name.
    pub(crate) path: String,
}

impl Kubelets {
    pub(crate) const NODE: &str = "{node}";

    pub(crate) fn path_of(&self, node: &str) -> String {
        self.path.replace(Self::NODE, node)
    }
}

/// What runs beside the cluster and has to be told or waited for once the API server answers.
#[derive(Default)]
struct Extras {
    kubelets: Option<Kubelets>,
    metrics: Option<MetricsServer>,
    prometheus: Option<String>,
}

fn loopback(o: &ClusterOptions, dir: &Path) -> Result<Place> {
    let mut place = Place {
        here: dir.display().to_string(),
        address: "127.0.0.1".into(),
        port: 0,
        service_cidr: "10.96.0.0/16".into(),
        service_ip: "10.96.0.1".into(),
        real: false,
        aggregates: o.with.contains(&Extra::Metrics),
        strict: o.strict,
    };
    place.port = place.free_port(6443)?;
    Ok(place)
}

/// Waits until the cluster serves, has its nodes, and they are ready.
async fn settle(
    o: &ClusterOptions,
    kubeconfig: &Path,
    dir: &Path,
    assets: &Assets,
    extras: &Extras,
    keeper: &mut Keeper,
) -> Result<()> {
    let client = client(kubeconfig).await?;
    let deadline = Instant::now() + PATIENCE;
    until(keeper, deadline, "the API server to be ready", async || {
        let request = http_get("/readyz")?;
        Ok(client.request_text(request).await? == "ok")
    })
    .await?;
    match o.nodes {
        Nodes::Simulated => simulated::create_nodes(&client, o.node_count, extras.kubelets.as_ref()).await?,
        Nodes::Real if o.sample_images => real::load_base_images(dir, assets, keeper, deadline, true).await?,
        Nodes::Real => real::load_base_images(dir, assets, keeper, deadline, false).await?,
    }
    let wanted = if o.nodes == Nodes::Real { 1 } else { o.node_count as usize };
    until(keeper, deadline, "the nodes to be ready", async || {
        let nodes = objects::all::<Node>(&client).list(&ListParams::default()).await?;
        Ok(nodes.items.iter().filter(|n| usable(n)).count() == wanted)
    })
    .await?;
    until(keeper, deadline, "the controller manager to make the default service account", async || {
        Ok(objects::within::<ServiceAccount>(&client, "default").get_opt("default").await?.is_some())
    })
    .await?;
    if let Some(server) = &extras.metrics {
        until(keeper, deadline, "the API server to take metrics-server in", async || {
            server.register(&client).await?;
            Ok(true)
        })
        .await?;
        until(keeper, deadline, "metrics-server to answer", async || metrics_server::available(&client).await).await?;
    }
    if let Some(address) = &extras.prometheus {
        until(keeper, deadline, "Prometheus to be ready", async || prometheus::ready(address).await).await?;
    }
    Ok(())
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}

/// Whether pods can be put onto a node: it is ready and has no taint that keeps them away.
fn usable(node: &DynamicObject) -> bool {
    objects::is_true(node, "Ready") && node.data["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
}

/// Asks until it is so, and stops early when the cluster fails.
pub(crate) async fn until(
    keeper: &mut Keeper,
    deadline: Instant,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    loop {
        keeper.check()?;
        let answer = match tokio::time::timeout(Duration::from_secs(5), ask()).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => "not yet".to_owned(),
            Ok(Err(e)) => format!("{e:#}"),
            Err(_) => "no answer within 5 s".to_owned(),
        };
        if Instant::now() > deadline {
            bail!(
                "the cluster did not start in {} s: waited for {what}; the last answer: {answer}",
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
