//! The HTTP endpoints for operators and probes: health, metrics, version, and why things are as they are.
//!
//! Plain HTTP without authentication, for the pod's network. Nothing here changes anything, and nothing here shows
//! the contents of objects other than what decisions say about them.

mod health;
mod routes;
mod scrape;
mod serve;
mod version;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
pub use health::{Check, Checks};
pub use version::Version;

/// Where `/debug/why` gets its answers.
pub trait WhySource: Send + Sync {
    /// Why the object is as it is, as text for a person. `None`: nothing is known of it. `ns` is empty for objects
    /// without a namespace.
    fn why(&self, kind: &str, ns: &str, name: &str) -> Option<String>;

    /// The same as JSON, if the source offers it.
    fn why_json(&self, kind: &str, ns: &str, name: &str) -> Option<serde_json::Value> {
        let _ = (kind, ns, name);
        None
    }

    /// What can be asked about: `kind/namespace/name`.
    fn keys(&self) -> Vec<String> {
        vec![]
    }
}

/// What the endpoints show.
#[derive(Clone)]
pub struct Admin {
    /// Alive: the process's loops are not wedged. A failing check restarts the container.
    pub live: Checks,
    /// Ready: stores are filled, watches are fresh.
    pub ready: Checks,
    /// Served under `/metrics`.
    pub metrics: Metrics,
    /// Served under `/debug/why`.
    pub why: Option<Arc<dyn WhySource>>,
    /// Served under `/version`.
    pub version: Version,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Where the endpoints are served. Port 0 takes any free port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Of everything but the metrics; `None` disables it.
    pub admin: Option<SocketAddr>,
    /// Of the metrics; `None` disables them, the same address as `admin` serves all in one place.
    pub metrics: Option<SocketAddr>,
}

/// A server could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct CannotListen {
    /// The address.
    pub address: SocketAddr,
    source: io::Error,
}

/// The running servers.
#[derive(Debug)]
pub struct Servers {
    admin: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<io::Result<()>>>,
}

impl Servers {
    /// Starts to serve, in tasks of the runtime in which this is called.
    ///
    /// # Errors
    ///
    /// [`CannotListen`] if an address is taken or not ours.
    pub fn start(admin: Admin, addresses: Addresses) -> Result<Self, CannotListen> {
        let mut servers = Self { admin: None, metrics: None, stop: CancellationToken::new(), tasks: vec![] };
        let shared = addresses.admin.is_some() && addresses.admin == addresses.metrics;
        if let Some(address) = addresses.admin {
            let router = routes::router(admin.clone(), routes::Serve { admin: true, metrics: shared });
            let bound = servers.serve("admin", address, router)?;
            servers.admin = Some(bound);
            servers.metrics = Some(bound).filter(|_| shared);
        }
        if let Some(address) = addresses.metrics.filter(|_| !shared) {
            let router = routes::router(admin, routes::Serve { admin: false, metrics: true });
            servers.metrics = Some(servers.serve("metrics", address, router)?);
        }
        Ok(servers)
    }

    fn serve(&mut self, name: &str, address: SocketAddr, router: Router) -> Result<SocketAddr, CannotListen> {
        let cannot = |source| CannotListen { address, source };
        let listener = serve::listen(address).map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        tracing::info!(server = name, address = %bound, "listening");
        let stop = self.stop.clone();
        self.tasks.push(tokio::spawn(serve::serve(listener, router, stop, serve::HEAD)));
        Ok(bound)
    }

    /// Where the admin endpoints are, if anywhere.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where the metrics are, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Ends the requests under way within `budget` and stops.
    pub async fn stop(mut self, budget: Duration) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut self.tasks);
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(budget, futures::future::join_all(tasks)).await.is_err() {
            // A scraper that keeps its connection open is no reason to keep running.
            tracing::debug!(?budget, "connections were still open at shutdown");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
