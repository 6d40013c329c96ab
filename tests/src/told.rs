//! What people are told of an application: the plan's message, its conditions, events. What it is to be is for the tests to say.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use trimtab_crds::ReleasePlan;
use trimtab_testkit::eventually;

use crate::App;

/// The sentence in a plan's status.
pub fn message(plan: &ReleasePlan) -> String {
    plan.status.as_ref().map(|status| status.message.clone()).unwrap_or_default()
}

/// A condition of a plan: status and reason.
pub(crate) fn condition<'a>(plan: &'a ReleasePlan, type_: &str) -> Option<(&'a str, &'a str)> {
    let condition = plan.status.as_ref()?.conditions.iter().find(|c| c.type_ == type_)?;
    Some((&condition.status, &condition.reason))
}

impl App {
    /// The status of a condition of the plan: `True`, `False`, or empty.
    ///
    /// # Errors
    ///
    /// If the plan cannot be read.
    pub async fn condition(&self, type_: &str) -> Result<String> {
        let plan = self.plan().await?;
        Ok(condition(&plan, type_).map(|c| c.0.to_owned()).unwrap_or_default())
    }

    /// Waits for an event of this reason, about whatever object.
    ///
    /// # Errors
    ///
    /// If it does not come.
    pub async fn wait_event(&self, reason: &str) -> Result<()> {
        eventually(&format!("an event {reason}"), Duration::from_secs(30), async || {
            let all = self.api::<Event>().list(&ListParams::default()).await?;
            Ok(all.items.iter().any(|event| event.reason.as_deref() == Some(reason)).then_some(()))
        })
        .await
    }
}
