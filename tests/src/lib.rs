//! What the tests of the workspace share: a namespace with an application or a fleet of them, a manager process that can be
//! killed and has no more rights than it needs, an account whose requests are counted, Helm and the chart, and watchers that judge the
//! state of the world. No test lives here, and nothing here knows how a release is decided.

pub mod helm;
pub mod hostile;

mod account;
mod adapter;
mod app;
mod autoscaled;
mod configured;
mod directly;
mod fleet;
mod kills;
mod manager;
pub mod maps;
mod midrelease;
mod plain;
mod program;
mod reloads;
pub mod rights;
mod told;
mod traffic;
mod watcher;

pub use account::{Account, Requests};
pub use adapter::Adapter;
pub use app::{App, Shape};
pub use autoscaled::{Feed, Rush, Sizes};
pub use configured::Configured;
pub use fleet::{Fleet, is_stable};
pub use kills::{Killed, each_kill, kills};
pub use manager::ManagerProcess;
pub use midrelease::{Leader, each_pod_once, each_step_once};
pub use plain::plain_deployment;
pub use program::Ended;
pub use reloads::{Reading, Reloads};
pub use told::message;
pub use traffic::pods_answer;
pub use watcher::{PodHistory, PodWatch};

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use tokio::sync::OnceCell;
use trimtab_testkit::{Cluster, Nodes, TestNamespace, apply_crds, shared_cluster, with_namespace};

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A binary of the workspace, where `make` builds it: beside this one, or beside the folder of the tests.
pub fn binary(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().context("this binary has no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let path = folder.join(name);
    anyhow::ensure!(path.exists(), "{} is not built: run `make test`, or cargo build --workspace", path.display());
    Ok(path)
}

/// The shared cluster, with what `kubectl apply -f crds/` brings.
pub async fn cluster() -> Result<Cluster> {
    static READY: OnceCell<()> = OnceCell::const_new();
    let cluster = shared_cluster().await?;
    READY.get_or_try_init(|| async { apply_crds(&cluster, &workspace().join("crds")).await }).await?;
    Ok(cluster)
}

/// Runs a test in a namespace of its own, with an application of this shape in it, and no manager yet.
///
/// # Panics
///
/// If the test fails, so that the test runner sees it.
pub async fn with_app<F, Fut>(name: &str, shape: Shape, test: F)
where
    F: FnOnce(App) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    with_app_on(cluster(), name, shape, test).await;
}

/// The same on another cluster, for what would disturb the tests beside it.
///
/// # Panics
///
/// If the test fails, so that the test runner sees it.
pub async fn with_app_on<F, Fut>(cluster: impl Future<Output = Result<Cluster>>, name: &str, shape: Shape, test: F)
where
    F: FnOnce(App) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let run = async {
        // Held to the end: one that is the test's own has to outlive the test's namespace.
        let cluster = Arc::new(cluster.await?);
        let client = cluster.client().await?;
        let real = matches!(cluster.nodes(), Nodes::Real);
        let held = cluster.clone();
        with_namespace(&client, name, |namespace: TestNamespace| async move {
            let app = App::new(held, namespace, shape, real);
            app.deploy().await?;
            test(app).await
        })
        .await
    };
    if let Err(error) = run.await {
        #[expect(clippy::panic, reason = "this is how a test fails")]
        {
            panic!("{name}: {error:?}");
        }
    }
}
