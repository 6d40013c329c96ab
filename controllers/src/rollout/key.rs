//! The key of the release controller: a workload, whatever plan it has or had.

use std::fmt;

use trimtab_crds::names;
use trimtab_plan::ObjectRef;
use trimtab_release::{PlanView, ReleaseView};

/// A workload. Reconciling is keyed by it, not by the plan, so that a held Deployment without a plan is still seen, and
/// two plans for one Deployment meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// Namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub name: String,
}

impl Workload {
    /// A workload by name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) fn of_plan(plan: &PlanView) -> Self {
        Self::new(&plan.metadata.namespace, &plan.spec.target_ref.name)
    }

    pub(super) fn of_release(release: &ReleaseView) -> Self {
        Self::new(&release.metadata.namespace, &release.spec.target)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl trimtab::Key for Workload {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn object(&self) -> ObjectRef {
        names::DEPLOYMENT.object(&self.namespace, &self.name)
    }
}
