//! metrics-server: how it is called, and how the API server is told of it. It is the real program; what it measures is the nodes' business.

use std::path::Path;

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::certs::{self, Authority};
use crate::cluster::Kubelets;
use crate::control_plane::{FRONT_PROXY, Place};
use crate::keeper::Process;
use crate::objects::{all, is_true, object, within};
use trimtab_parts::{Assets, source};

/// The node's annotation that says where metrics-server finds its resource metrics.
pub(crate) const PATH_ANNOTATION: &str = "metrics.k8s.io/resource-metrics-path";
const NAME: &str = "metrics-server";
const NAMESPACE: &str = "kube-system";
const API: &str = "v1beta1.metrics.k8s.io";

/// A metrics-server that was given its place.
pub(crate) struct MetricsServer {
    port: u16,
    authority: String,
}

impl MetricsServer {
    pub(crate) fn plan(place: &Place, authority: &Authority) -> Result<Self> {
        Ok(Self { port: place.free_port(10443)?, authority: authority.pem() })
    }

    /// Writes its identities and returns its process.
    pub(crate) fn process(
        &self,
        assets: &Assets,
        place: &Place,
        dir: &Path,
        authority: &Authority,
        kubelets: &Kubelets,
    ) -> Result<Process> {
        // It lives and dies with the cluster like its other parts, and gets its rights before its first request.
        let client = authority.client("trimtab-metrics-server", &["system:masters"])?;
        let kubeconfig = place.file("metrics-server.kubeconfig");
        certs::write_secret(&dir.join("metrics-server.kubeconfig"), &authority.kubeconfig(&place.server(), &client)?)?;
        certs::write_identity(dir, NAME, &authority.server(NAME, &[format!("{NAME}.{NAMESPACE}.svc")])?)?;
        let argv = [
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            // Told here, it need not wait for the API server to publish the same.
            "--authentication-skip-lookup=true".into(),
            format!("--client-ca-file={}", place.file("ca.crt")),
            format!("--requestheader-client-ca-file={}", place.file("front-proxy-ca.crt")),
            format!("--requestheader-allowed-names={FRONT_PROXY}"),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.port),
            format!("--tls-cert-file={}", place.file("metrics-server.crt")),
            format!("--tls-private-key-file={}", place.file("metrics-server.key")),
            // The shortest that it takes.
            "--metric-resolution=10s".into(),
            "--kubelet-request-timeout=5s".into(),
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--kubelet-port={}", kubelets.port),
        ];
        Ok(Process::new(NAME, assets.text(source::METRICS_SERVER)?, argv).after(place.ready()))
    }

    /// Tells the API server where it is and who may read it. Can be done again.
    pub(crate) async fn register(&self, client: &kube::Client) -> Result<()> {
        let force = PatchParams::apply("trimtab-testkit").force();
        let role = object::<ClusterRole>(json!({
            "metadata": {"name": "system:aggregated-metrics-reader", "labels": {
                "rbac.authorization.k8s.io/aggregate-to-view": "true",
                "rbac.authorization.k8s.io/aggregate-to-edit": "true",
                "rbac.authorization.k8s.io/aggregate-to-admin": "true",
            }},
            "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}],
        }))?;
        all::<ClusterRole>(client).patch("system:aggregated-metrics-reader", &force, &Patch::Apply(role)).await?;
        // A loopback address may be no Service's endpoint, but the API server takes an external name as it is.
        let service = object::<Service>(json!({
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
        }))?;
        within::<Service>(client, NAMESPACE).patch(NAME, &force, &Patch::Apply(service)).await?;
        let api = object::<APIService>(json!({
            "metadata": {"name": API},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "service": {"name": NAME, "namespace": NAMESPACE, "port": self.port},
                "caBundle": k8s_openapi::ByteString(self.authority.clone().into_bytes()),
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        }))?;
        all::<APIService>(client).patch(API, &force, &Patch::Apply(api)).await?;
        Ok(())
    }
}

/// Whether the API server passes requests for metrics on.
pub(crate) async fn available(client: &kube::Client) -> Result<bool> {
    Ok(is_true(&all::<APIService>(client).get(API).await?, "Available"))
}
