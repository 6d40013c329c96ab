//! An adapter of metrics: a server behind the API server that answers for external.metrics.k8s.io and custom.metrics.k8s.io, as the
//! adapters of Prometheus and of KEDA do. What it answers is set by the test; nothing is measured.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;
use trimtab_testkit::eventually;

const GROUPS: [(&str, &str); 2] = [("external.metrics.k8s.io", "v1beta1"), ("custom.metrics.k8s.io", "v1beta2")];
const SERVICE: &str = "trimtab-tests-adapter";
const NAMESPACE: &str = "kube-system";
const PATIENCE: Duration = Duration::from_secs(60);

/// What a metric is.
#[derive(Debug, Clone)]
enum Told {
    /// A quantity, of everything that is asked about.
    Each(String),
    /// A number that the pods that are ready share.
    Shared(f64),
}

/// What it answers, by the metric's name.
type Values = Arc<Mutex<HashMap<String, Told>>>;

/// One for a whole cluster, for as long as it lives and until [`Adapter::remove`].
pub struct Adapter {
    values: Values,
    client: Client,
    task: JoinHandle<()>,
}

impl Adapter {
    /// Starts it and has the API server pass on what is asked of its groups.
    ///
    /// # Errors
    ///
    /// If it cannot listen, or the API server does not take it.
    pub async fn start(client: Client) -> Result<Self> {
        let listener = Listener { tcp: TcpListener::bind("127.0.0.1:0").await?, tls: acceptor()? };
        let port = listener.tcp.local_addr()?.port();
        let values = Values::default();
        let shared = (values.clone(), client.clone());
        let router = axum::Router::new().fallback(answer).with_state(shared);
        let task = tokio::spawn(async move {
            // It ends with this value.
            _ = axum::serve(listener, router).await;
        });
        let adapter = Self { values, client, task };
        adapter.register(port).await?;
        Ok(adapter)
    }

    /// What a metric is from now on, as a quantity.
    pub fn set(&self, metric: &str, value: &str) {
        self.tell(metric, Told::Each(value.to_owned()));
    }

    /// What the ready pods that are asked about share from now on, each the same, whoever asks about which.
    pub fn set_shared(&self, metric: &str, total: f64) {
        self.tell(metric, Told::Shared(total));
    }

    fn tell(&self, metric: &str, told: Told) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).insert(metric.to_owned(), told);
    }

    /// Takes its groups out of the API server: one that nobody serves keeps namespaces from being deleted.
    ///
    /// # Errors
    ///
    /// If the API server cannot be asked.
    pub async fn remove(self) -> Result<()> {
        let apis: Api<APIService> = Api::all(self.client.clone());
        for (group, version) in GROUPS {
            apis.delete(&format!("{version}.{group}"), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    async fn register(&self, port: u16) -> Result<()> {
        let force = PatchParams::apply("trimtab-tests").force();
        // A loopback address may be no Service's endpoint, but the API server takes an external name as it is.
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
        }))?;
        let services: Api<Service> = Api::namespaced(self.client.clone(), NAMESPACE);
        services.patch(SERVICE, &force, &Patch::Apply(service)).await?;
        let apis: Api<APIService> = Api::all(self.client.clone());
        for (group, version) in GROUPS {
            let name = format!("{version}.{group}");
            let api: APIService = serde_json::from_value(json!({
                "metadata": {"name": name},
                "spec": {
                    "group": group,
                    "version": version,
                    "service": {"name": SERVICE, "namespace": NAMESPACE, "port": port},
                    "insecureSkipTLSVerify": true,
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                },
            }))?;
            apis.patch(&name, &force, &Patch::Apply(api)).await?;
            eventually(&format!("{name} to be available"), PATIENCE, async || {
                let conditions = apis.get(&name).await?.status.and_then(|status| status.conditions).unwrap_or_default();
                let found = conditions.iter().find(|condition| condition.type_ == "Available");
                ensure!(found.is_some_and(|condition| condition.status == "True"), "{found:?}");
                Ok(Some(()))
            })
            .await?;
        }
        Ok(())
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connections with TLS, which the API server insists on.
struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

fn acceptor() -> Result<TlsAcceptor> {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .context("the certificate of the adapter")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Paths are those of the two APIs: what is described, then the metric.
async fn answer(
    State((values, client)): State<(Values, Client)>,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
) -> Response {
    let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let value = |metric: &str| values.lock().unwrap_or_else(PoisonError::into_inner).get(metric).cloned();
    let items = match parts[..] {
        ["apis", group, version] if GROUPS.contains(&(group, version)) => {
            return Json(
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"),
                "resources": [{"name": "any", "namespaced": true, "kind": "MetricValueList", "verbs": ["get"]}]}),
            )
            .into_response();
        }
        ["apis", "external.metrics.k8s.io", _, "namespaces", _, metric] => {
            value(metric).map(|told| vec![json!({"metricName": metric, "metricLabels": {}, "value": told.of_all()})])
        }
        ["apis", "custom.metrics.k8s.io", _, "namespaces", namespace, "pods", "*" | "%2A", metric] => {
            match value(metric) {
                Some(told) => {
                    let selector = query.get("labelSelector").map_or("", String::as_str);
                    Some(of_pods(&client, namespace, selector, &told).await)
                }
                None => None,
            }
        }
        ["apis", "custom.metrics.k8s.io", _, "namespaces", _, kind, name, metric] => {
            value(metric).map(|told| vec![described(kind, name, &told.of_all())])
        }
        _ => None,
    };
    match items {
        Some(mut items) => {
            for item in &mut items {
                item["timestamp"] = json!(jiff::Timestamp::now());
            }
            let (group, version) = (parts[1], parts[2]);
            let kind = if group.starts_with("external") { "ExternalMetricValueList" } else { "MetricValueList" };
            let list =
                json!({"kind": kind, "apiVersion": format!("{group}/{version}"), "metadata": {}, "items": items});
            Json(list).into_response()
        }
        None => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                "message": "the adapter has no such metric", "code": 404});
            (StatusCode::NOT_FOUND, Json(status)).into_response()
        }
    }
}

fn described(kind: &str, name: &str, value: &str) -> Value {
    json!({"describedObject": {"kind": kind, "name": name, "apiVersion": "v1"}, "metric": {"name": ""}, "value": value})
}

impl Told {
    fn of_all(&self) -> String {
        match self {
            Self::Each(value) => value.clone(),
            Self::Shared(total) => format!("{:.0}m", total * 1000.0),
        }
    }
}

async fn of_pods(client: &Client, namespace: &str, selector: &str, told: &Told) -> Vec<Value> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = pods.list(&ListParams::default().labels(selector)).await.map(|list| list.items).unwrap_or_default();
    let ready = |pod: &&Pod| {
        let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let counted: Vec<&Pod> = match told {
        Told::Each(_) => found.iter().collect(),
        Told::Shared(_) => found.iter().filter(ready).collect(),
    };
    let value = match told {
        Told::Each(value) => value.clone(),
        Told::Shared(total) => format!("{:.0}m", total * 1000.0 / counted.len().max(1) as f64),
    };
    counted.iter().map(|pod| described("Pod", &pod.name_any(), &value)).collect()
}
