//! The key of controllers whose workloads are of several kinds. The release controller's are Deployments alone.

use std::fmt;

use trimtab_plan::{Kind, Meta, ObjectRef};

/// A workload, by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Workload {
    /// The workload of this kind that has this metadata.
    pub fn of(kind: Kind, meta: &Meta) -> Self {
        Self { kind, namespace: meta.namespace.clone(), name: meta.name.clone() }
    }

    /// What people call it: `deployment/web`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind.kind.to_ascii_lowercase(), self.name)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.kind, self.namespace, self.name)
    }
}

impl trimtab::Key for Workload {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn object(&self) -> ObjectRef {
        self.kind.object(&self.namespace, &self.name)
    }
}
