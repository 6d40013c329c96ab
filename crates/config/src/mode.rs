//! Which sources are read live by their nature: renewed by somebody, or not configuration at all. Not what a plan says.

use std::fmt;

use crate::{Object, SourceKind};

/// Why a source is not frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A certificate and its key: copies would expire.
    Certificate,
    /// A program renews it.
    Renewed,
    /// A token of a service account, or of a bootstrapping node.
    Token,
    /// Credentials of an image registry.
    Registry,
    /// Certificates of authorities, which the cluster distributes.
    Authorities,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate, which is renewed",
            Self::Renewed => "renewed by a program",
            Self::Token => "a token",
            Self::Registry => "credentials of a registry",
            Self::Authorities => "a bundle of authorities",
        })
    }
}

impl Reason {
    /// Whether a plan cannot say otherwise.
    pub fn always(self) -> bool {
        matches!(self, Self::Token | Self::Registry | Self::Authorities)
    }
}

/// ConfigMaps that Kubernetes and OpenShift put into every namespace.
const AUTHORITIES: [&str; 2] = ["kube-root-ca.crt", "openshift-service-ca.crt"];
/// Groups of the programs that renew Secrets: cert-manager and External Secrets.
const RENEWERS: [&str; 2] = ["cert-manager.io", "external-secrets.io"];

/// Why an object is read live by its nature, if it is. A renewed certificate or password has to reach running pods.
pub fn live_by_nature(object: &Object) -> Option<Reason> {
    let meta = &object.metadata;
    if object.source().kind == SourceKind::ConfigMap {
        return AUTHORITIES.contains(&meta.name.as_str()).then_some(Reason::Authorities);
    }
    match object.type_.as_ref() {
        "kubernetes.io/service-account-token" | "bootstrap.kubernetes.io/token" => return Some(Reason::Token),
        "kubernetes.io/dockercfg" | "kubernetes.io/dockerconfigjson" => return Some(Reason::Registry),
        "kubernetes.io/tls" => return Some(Reason::Certificate),
        _ => {}
    }
    let owned = meta.owner_references.iter().any(|owner| RENEWERS.contains(&owner.group.as_str()));
    let marked = meta.annotations.keys().any(|name| name.starts_with("cert-manager.io/certificate-name"));
    (owned || marked).then_some(Reason::Renewed)
}
