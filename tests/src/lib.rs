//! What the tests of the workspace share: a namespace with an application, a manager process that can be killed, and
//! watchers that judge the state of the world. No test lives here, and nothing here knows how a release is decided.

mod app;
mod manager;
mod watcher;

pub use app::{App, Shape};
pub use manager::ManagerProcess;
pub use watcher::{PodHistory, PodWatch};

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::sync::OnceCell;
use trimtab_testkit::{Cluster, Nodes, TestNamespace, apply_crds, shared_cluster, with_namespace};

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A binary of the workspace, where `make test` builds it: beside the tests.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("the test binary has no folder")?;
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
    let run = async {
        let cluster = cluster().await?;
        let client = cluster.client().await?;
        let real = matches!(cluster.nodes(), Nodes::Real);
        with_namespace(&client, name, |namespace: TestNamespace| async move {
            let app = App::new(cluster, namespace, shape, real);
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
