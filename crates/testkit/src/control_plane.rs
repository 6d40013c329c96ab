//! How etcd, the API server, the controller manager and the scheduler are called. Not where they run, which nodes they have, or when.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result};

use crate::certs::{self, Authority};
use crate::keeper::Process;
use trimtab_parts::{Assets, source};

/// Where a control plane is and what it may use.
pub(crate) struct Place {
    /// The cluster's folder as its processes see it.
    pub(crate) here: String,
    /// The address that the API server listens on.
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) service_cidr: String,
    /// The first address of the service range: the service `kubernetes` has it.
    pub(crate) service_ip: String,
    pub(crate) real: bool,
    /// Whether the API server passes requests on to other servers.
    pub(crate) aggregates: bool,
    /// Whether the API server is as strict as those of hardened clusters.
    pub(crate) strict: bool,
}

/// The name by which servers that the API server passes requests on to know it.
pub(crate) const FRONT_PROXY: &str = "trimtab-front-proxy";

impl Place {
    pub(crate) fn server(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }

    /// What answers once the API server serves requests.
    pub(crate) fn ready(&self) -> String {
        format!("{}/readyz", self.server())
    }

    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.here)
    }

    /// A port of this address that nobody has yet. Where the network is the cluster's own, the usual one is free.
    pub(crate) fn free_port(&self, usual: u16) -> Result<u16> {
        if self.real {
            return Ok(usual);
        }
        let listener = TcpListener::bind((self.address.as_str(), 0));
        Ok(listener.with_context(|| format!("no free port on {}", self.address))?.local_addr()?.port())
    }
}

/// Writes the certificates and kubeconfigs that the control plane needs, and the administrator's, into the cluster's folder.
pub(crate) fn write_identities(dir: &Path, place: &Place, authority: &Authority) -> Result<()> {
    certs::write_secret(&dir.join("ca.crt"), &authority.pem())?;
    let tokens = certs::signing_key()?;
    certs::write_secret(&dir.join("service-account.key"), &tokens.private)?;
    certs::write_secret(&dir.join("service-account.pub"), &tokens.public)?;
    let mut hosts = vec![place.address.clone(), place.service_ip.clone(), "127.0.0.1".into(), "localhost".into()];
    hosts.extend(["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned));
    hosts.dedup();
    certs::write_identity(dir, "apiserver", &authority.server("kube-apiserver", &hosts)?)?;
    if place.real {
        let client = authority.client("kube-apiserver-kubelet-client", &["system:masters"])?;
        certs::write_identity(dir, "apiserver-kubelet-client", &client)?;
    }
    if place.aggregates {
        // An authority of its own: otherwise whoever has a certificate of the cluster could claim to be anybody.
        let front = Authority::new()?;
        certs::write_secret(&dir.join("front-proxy-ca.crt"), &front.pem())?;
        certs::write_identity(dir, "front-proxy", &front.client(FRONT_PROXY, &[])?)?;
    }
    for (file, user, groups) in [
        ("kubeconfig", "trimtab-admin", &["system:masters"][..]),
        ("controller-manager.kubeconfig", "system:kube-controller-manager", &[]),
        ("scheduler.kubeconfig", "system:kube-scheduler", &[]),
    ] {
        let client = authority.client(user, groups)?;
        certs::write_secret(&dir.join(file), &authority.kubeconfig(&place.server(), &client)?)?;
    }
    Ok(())
}

/// What the audit log holds: who of the ServiceAccounts asked for what, without what was sent and answered. Kubernetes' own
/// controllers have such accounts too.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: [\"system:serviceaccounts:kube-system\"]}
- {level: Metadata, userGroups: [\"system:serviceaccounts\"]}
- {level: None}
";
/// Where it is, in the cluster's folder.
pub(crate) const AUDIT_LOG: &str = "audit.log";
const AUDIT_POLICY: &str = "audit-policy.yaml";

/// Writes what a strict API server reads.
pub(crate) fn write_policies(dir: &Path, place: &Place) -> Result<()> {
    if place.strict {
        std::fs::write(dir.join(AUDIT_POLICY), AUDIT).context("cannot write the audit policy")?;
    }
    Ok(())
}

/// The four processes, in the order of their starts.
pub(crate) fn processes(assets: &Assets, place: &Place) -> Result<Vec<Process>> {
    let socket = place.file("etcd.sock");
    let etcd = Process::new(
        "etcd",
        assets.text(source::ETCD)?,
        [
            format!("--data-dir={}", place.file("etcd")),
            format!("--listen-client-urls=unix://{socket}"),
            // It insists on a host and a port, and nobody follows them.
            "--advertise-client-urls=http://127.0.0.1:2379".into(),
            "--listen-peer-urls=http://127.0.0.1:0".into(),
            // What is in it goes with the cluster, so nothing is gained by waiting for the disk.
            "--unsafe-no-fsync".into(),
            "--snapshot-count=10000".into(),
            "--quota-backend-bytes=4294967296".into(),
            "--log-level=warn".into(),
        ],
    );
    let api_server = Process::new("kube-apiserver", assets.text(source::API_SERVER)?, api_server(place, &socket))
        .after(format!("unix:{socket}"));
    let controller_manager = Process::new(
        "kube-controller-manager",
        assets.text(source::CONTROLLER_MANAGER)?,
        [
            format!("--kubeconfig={}", place.file("controller-manager.kubeconfig")),
            format!("--root-ca-file={}", place.file("ca.crt")),
            format!("--service-account-private-key-file={}", place.file("service-account.key")),
            "--use-service-account-credentials=true".into(),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            "--kube-api-qps=300".into(),
            "--kube-api-burst=600".into(),
            "--concurrent-deployment-syncs=20".into(),
            "--concurrent-replicaset-syncs=20".into(),
            "--concurrent-gc-syncs=40".into(),
            "--concurrent-namespace-syncs=20".into(),
        ],
    )
    .after(place.ready());
    let scheduler = Process::new(
        "kube-scheduler",
        assets.text(source::SCHEDULER)?,
        [
            format!("--kubeconfig={}", place.file("scheduler.kubeconfig")),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            "--kube-api-qps=300".into(),
            "--kube-api-burst=600".into(),
        ],
    )
    .after(place.ready());
    Ok(vec![etcd, api_server, controller_manager, scheduler])
}

fn api_server(place: &Place, etcd: &str) -> Vec<String> {
    let mut argv = vec![
        format!("--etcd-servers=unix://{etcd}"),
        format!("--bind-address={}", place.address),
        format!("--advertise-address={}", place.address),
        format!("--secure-port={}", place.port),
        format!("--service-cluster-ip-range={}", place.service_cidr),
        format!("--tls-cert-file={}", place.file("apiserver.crt")),
        format!("--tls-private-key-file={}", place.file("apiserver.key")),
        format!("--cert-dir={}", place.file("apiserver")),
        format!("--client-ca-file={}", place.file("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", place.file("service-account.pub")),
        format!("--service-account-signing-key-file={}", place.file("service-account.key")),
        "--allow-privileged=true".into(),
        "--max-requests-inflight=2000".into(),
        "--max-mutating-requests-inflight=1000".into(),
        "--profiling=true".into(),
    ];
    if place.aggregates {
        argv.extend([
            format!("--requestheader-client-ca-file={}", place.file("front-proxy-ca.crt")),
            format!("--requestheader-allowed-names={FRONT_PROXY}"),
            "--requestheader-username-headers=X-Remote-User".into(),
            "--requestheader-group-headers=X-Remote-Group".into(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
            format!("--proxy-client-cert-file={}", place.file("front-proxy.crt")),
            format!("--proxy-client-key-file={}", place.file("front-proxy.key")),
        ]);
    }
    if place.strict {
        argv.extend([
            format!("--audit-policy-file={}", place.file(AUDIT_POLICY)),
            format!("--audit-log-path={}", place.file(AUDIT_LOG)),
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".into(),
            "--feature-gates=WatchList=false".into(),
        ]);
    }
    if place.real {
        argv.extend([
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            format!("--kubelet-client-certificate={}", place.file("apiserver-kubelet-client.crt")),
            format!("--kubelet-client-key={}", place.file("apiserver-kubelet-client.key")),
            format!("--kubelet-certificate-authority={}", place.file("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".into(),
        ]);
    } else {
        // A loopback address is no Service endpoint, so nobody records one.
        argv.extend(["--authorization-mode=RBAC".into(), "--endpoint-reconciler-type=none".into()]);
    }
    argv
}
