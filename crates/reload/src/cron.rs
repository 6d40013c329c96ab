//! CronJobs. The next run reads what is live by itself; Reloader's users are promised a run at once.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use trimtab_crds::names;
use trimtab_plan::{Plan, Severity, Write};

use crate::decide::{Snapshot, read, sources, tell};
use crate::{How, Workload, trigger};

/// The longest name of a Job whose pods can have names.
const LONGEST_NAME: usize = 63;
/// On a Job that was started by hand, as `kubectl create job --from` writes it.
const INSTANTIATE: &str = "cronjob.kubernetes.io/instantiate";

/// Runs a CronJob now, once for each change, if Reloader's annotations ask for it.
pub(crate) fn run(now: Timestamp, seen: &Snapshot, workload: &Workload, plan: &mut Plan<()>) {
    let record = trigger::record(now, workload, &seen.survey, true);
    let note = |why: &str| trigger::note(workload, &record, why);
    let by_reloader = seen.survey.changes.iter().any(|change| change.how == How::Reloader);
    if workload.paused {
        plan.because(
            "NextRun",
            "it is suspended: nothing is run for the change; once somebody resumes it, its runs read it",
        );
        plan.writes.push(note("note that nothing is run for the change while it is suspended"));
        return;
    }
    if !by_reloader {
        plan.because("NextRun", "its next run reads the change");
        plan.writes.push(note("note that its next run reads the change"));
        return;
    }
    let before = workload.annotation(names::RELOAD_APPLIED).unwrap_or_default();
    let name = job_name(&workload.metadata.name, before, &record.pins().to_string());
    if seen.jobs.iter().any(|job| job.name == name) {
        plan.because("NextRun", format!("Job {name} was started for the change"));
        plan.writes.push(note("note that a run was started for the change"));
        return;
    }
    // Its status does not name those that were started by hand or for a change.
    let running = seen.jobs.iter().find(|job| job.runs).map(|job| job.name.as_str());
    if workload.exclusive && (workload.active || running.is_some()) {
        let which = running.map_or_else(|| "a run".to_owned(), |name| format!("Job {name}"));
        plan.because("JobRunning", format!("{which} is under way, and the CronJob wants no second one beside it"));
        return;
    }
    let id = format!("cronjob/{}/{}", workload.metadata.uid, name);
    let Some(cron_job) = read(now, seen, id, workload.object(), plan) else { return };
    let target = names::JOB.object(&workload.metadata.namespace, &name);
    plan.because("Running", format!("started now for {}", sources(&seen.survey)));
    plan.writes.push(Write::create(target, job(workload, cron_job), "run it now, as Reloader does"));
    plan.writes.push(note("note that a run was started for the change"));
    let note = format!("started Job {name} for {}", sources(&seen.survey));
    tell(workload, Severity::Normal, "Reloaded", "Run", note, plan);
}

/// The same name for the same step from what was recorded before, with its times, to these revisions: a run that was started for it is not
/// started again, and one for a value that comes back is.
fn job_name(cron_job: &str, before: &str, pins: &str) -> String {
    let digest = Sha256::new().chain_update(before).chain_update([0]).chain_update(pins).finalize();
    let suffix: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let stem: String = cron_job.chars().take(LONGEST_NAME - suffix.len() - 1).collect();
    format!("{}-{suffix}", stem.trim_end_matches(['-', '.']))
}

fn job(workload: &Workload, cron_job: &Value) -> Value {
    let template = &cron_job["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(INSTANTIATE.to_owned(), "manual".into());
    let owner = json!({
        "apiVersion": workload.kind.api_version(), "kind": workload.kind.kind, "name": workload.metadata.name,
        "uid": workload.metadata.uid, "controller": true,
    });
    json!({
        "metadata": {
            "labels": template["metadata"]["labels"], "annotations": annotations, "ownerReferences": [owner],
        },
        "spec": template["spec"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_s_name_follows_from_the_revisions_and_fits() {
        let name = job_name("backup", "cm/a=0@2026-01-01T00:00:00Z", "cm/a=1");
        assert_eq!(name, job_name("backup", "cm/a=0@2026-01-01T00:00:00Z", "cm/a=1"));
        assert_ne!(name, job_name("backup", "cm/a=0@2026-01-01T00:00:00Z", "cm/a=2"));
        assert_ne!(name, job_name("backup", "cm/a=0@2026-01-01T00:00:09Z", "cm/a=1"));
        let long = job_name(&"x".repeat(100), "", "cm/a=1");
        assert_eq!(long.len(), LONGEST_NAME);
    }
}
