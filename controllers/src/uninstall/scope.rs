//! What the way out is about, and where the manager is. Nothing is read here.

/// What is meant, and how a manager is found.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// These namespaces; all where none is named.
    pub namespaces: Vec<String>,
    /// Name of the manager's lease.
    pub lease_name: String,
    /// Namespace of the manager's lease, where only that may be looked at.
    pub lease_namespace: Option<String>,
    /// The manager's Deployment, to be ended first: `NAMESPACE/NAME`.
    pub stop: Option<String>,
}

impl Scope {
    /// The manager's namespace, where the caller named it. One that is found could be anybody's: what is in it proves nothing.
    pub(super) fn manager_namespace(&self) -> Option<&str> {
        let stopped = || self.stop.as_ref().and_then(|manager| manager.split_once('/')).map(|(namespace, _)| namespace);
        self.lease_namespace.as_deref().or_else(stopped)
    }
}
