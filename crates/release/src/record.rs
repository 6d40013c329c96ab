//! The `Release` objects: made when a release begins, kept in step with the plan's status, pruned to the history limit.

use jiff::Timestamp;
use serde_json::json;
use trimtab_crds::{Progress, ReleasePlanStatus, ReleaseResult, ReleaseStatus, Verdict, names};
use trimtab_plan::{PatchOp, Plan, Subresource, Verb, Write};

use crate::{
    Snapshot,
    template::{changes, summary},
    views::{ReleaseView, ReplicaSetView},
    world::World,
};

/// Name of the release with this number.
pub(crate) fn name(plan: &str, sequence: i64) -> String {
    let suffix = format!("-{sequence}");
    let stem: String = plan.chars().take(253 - suffix.len()).collect();
    format!("{stem}{suffix}")
}

/// Whether a Release is the plan's own. What it says of itself proves nothing: somebody else may have written it.
pub(crate) fn is_ours(world: &World<'_>, release: &ReleaseView) -> bool {
    release.metadata.controller().is_some_and(|owner| owner.uid == world.plan.metadata.uid)
}

/// Whether a Release is the plan's own record of the change that the Deployment asks for, still open.
pub(crate) fn is_of(world: &World<'_>, release: &ReleaseView) -> bool {
    let open = release.status.as_ref().is_none_or(|status| status.finished_at.is_none());
    let same = release.spec.digest == world.digest && release.spec.target == world.deployment.metadata.name;
    is_ours(world, release) && open && same
}

/// Creates the record of a release that begins.
pub(crate) fn create(world: &World<'_>, sequence: i64, by: &str, stable: Option<&ReplicaSetView>) -> Write {
    let plan = &world.plan.metadata;
    let old = stable.map(|rs| rs.spec.template.value()).unwrap_or_else(|| json!({}));
    let new = world.deployment.spec.template.value();
    let changes = changes(&old, &new, 20);
    let mut body = json!({
        "metadata": {
            "labels": {"app.kubernetes.io/managed-by": "trimtab"},
            "ownerReferences": [{
                "apiVersion": names::RELEASE_PLAN.api_version(), "kind": "ReleasePlan",
                "name": plan.name, "uid": plan.uid, "controller": true, "blockOwnerDeletion": true
            }],
        },
        "spec": {
            "plan": plan.name,
            "target": world.deployment.metadata.name,
            "sequence": sequence,
            "by": by,
            "summary": summary(&changes),
            "changes": changes,
            "digest": world.digest,
            "stableDigest": stable.map(|rs| rs.spec.template.digest.clone()).unwrap_or_default(),
            "stableTemplate": old,
        }
    });
    if let Some(pins) = stable.map(|rs| &rs.spec.template.config).filter(|pins| !pins.is_empty()) {
        body["spec"]["stableConfig"] = json!(pins.to_string());
    }
    let target = names::RELEASE.object(&plan.namespace, &name(&plan.name, sequence));
    Write::create(target, body, "record what changed and what was stable")
}

/// Whether a write keeps a record in step: nothing rests on those.
pub(crate) fn is_record(write: &Write) -> bool {
    let status = matches!(&write.verb, Verb::Patch { subresource: Some(Subresource::Status), .. });
    write.target.kind == names::RELEASE && status
}

/// The latest of the plan's releases that keeps this template as what was stable.
pub(crate) fn keeper_of(world: &World<'_>, digest: &str) -> Option<String> {
    let ours = world.seen.releases.iter().filter(|release| is_ours(world, release));
    let keepers = ours.filter(|release| release.spec.stable_digest == digest);
    keepers.max_by_key(|release| release.spec.sequence).map(|release| release.metadata.name.clone())
}

/// Keeps the record of the release under way in step with its progress.
pub(crate) fn follow(world: &World<'_>, progress: &Progress, message: &str) -> Option<Write> {
    let status = ReleaseStatus {
        result: ReleaseResult::Running,
        message: message.to_owned(),
        started_at: progress.started_at,
        finished_at: None,
        steps: progress.steps.clone(),
        skipped_steps: progress.skips_steps.clone(),
        verdict: progress.verdict.clone(),
    };
    // The plan's status has the steps as they go on: the record is written when it is begun and when it is over.
    let same = |old: &ReleaseStatus| old.result == status.result && old.verdict == status.verdict;
    write_status(world.seen, &progress.name, &status, same)
}

/// Closes records of this plan whose end was not written when it came: that was refused, or the process died in between.
pub(crate) fn close_forgotten(world: &World<'_>, status: &ReleasePlanStatus, now_written: &[Write]) -> Vec<Write> {
    let running = status.release.as_ref().map(|progress| progress.name.as_str());
    let closes = |name: &str| now_written.iter().any(|write| is_record(write) && write.target.name == name);
    let left = world.seen.releases.iter().filter(|release| {
        let meta = &release.metadata;
        let ours = is_ours(world, release);
        let open = release.status.as_ref().is_none_or(|status| status.finished_at.is_none());
        let over = Some(meta.name.as_str()) != running && !closes(&meta.name);
        ours && open && over && meta.deletion_timestamp.is_none()
    });
    left.filter_map(|release| {
        let rejected = status.rejected.as_ref().filter(|rejected| rejected.release == release.metadata.name);
        let promoted = status.stable.as_ref().is_some_and(|stable| stable.digest == release.spec.digest);
        let result = match (rejected, promoted) {
            (Some(_), _) => ReleaseResult::TakenBack,
            (None, true) => ReleaseResult::Promoted,
            (None, false) => ReleaseResult::Cancelled,
        };
        let before = release.status.as_ref();
        let closed = ReleaseStatus {
            result,
            skipped_steps: before.and_then(|old| old.skipped_steps.clone()),
            message: "over; its end could not be recorded when it came".to_owned(),
            started_at: before.map(|old| old.started_at).or(release.metadata.creation_timestamp).unwrap_or(world.now),
            finished_at: Some(world.now),
            steps: before.map(|old| old.steps.clone()).unwrap_or_default(),
            verdict: rejected.map(|rejected| rejected.verdict.clone()),
        };
        let mut write = write_status(world.seen, &release.metadata.name, &closed, |_| false)?;
        if let Verb::Patch { ops, .. } = &mut write.verb {
            // Only what is still as it was seen: its true end may have been written meanwhile.
            ops.insert(0, PatchOp::test("/metadata/resourceVersion", release.metadata.resource_version.clone()));
        }
        Some(write)
    })
    .collect()
}

/// Closes the record of a release whose Deployment is gone.
pub(crate) fn close_lost<S>(now: Timestamp, seen: &Snapshot, mut progress: Progress, plan: &mut Plan<S>) {
    progress.verdict =
        Some(Verdict { reason: "TargetDeleted".to_owned(), message: format!("Deployment {} was deleted", seen.name) });
    close(now, seen, &progress, ReleaseResult::Cancelled, plan);
}

/// Closes the record of a release.
pub(crate) fn close<S>(
    now: Timestamp,
    seen: &Snapshot,
    progress: &Progress,
    result: ReleaseResult,
    plan: &mut Plan<S>,
) {
    let verdict = progress.verdict.clone();
    let open = seen.releases.iter().find(|r| r.metadata.name == progress.name);
    let finished_at = open.and_then(|r| r.status.as_ref()).and_then(|s| s.finished_at).unwrap_or(now);
    let message = match (&verdict, result) {
        (Some(verdict), _) => verdict.message.clone(),
        (None, ReleaseResult::Promoted) => match &progress.skips_steps {
            Some(why) => format!("promoted without steps: {why}"),
            None => "promoted".to_owned(),
        },
        (None, ReleaseResult::Bypassed) => "released past the plan".to_owned(),
        (None, _) => "over".to_owned(),
    };
    let mut steps = progress.steps.clone();
    if let Some(last) = steps.last_mut() {
        last.finished_at.get_or_insert(finished_at);
    }
    let status = ReleaseStatus {
        result,
        message,
        started_at: progress.started_at,
        finished_at: Some(finished_at),
        steps,
        skipped_steps: progress.skips_steps.clone(),
        verdict,
    };
    plan.writes.extend(write_status(seen, &progress.name, &status, |old| *old == status));
}

fn write_status(
    seen: &Snapshot,
    name: &str,
    status: &ReleaseStatus,
    same: impl Fn(&ReleaseStatus) -> bool,
) -> Option<Write> {
    let release = seen.releases.iter().find(|r| r.metadata.name == name)?;
    if release.status.as_ref().is_some_and(same) {
        return None;
    }
    let ops = vec![
        PatchOp::test("/metadata/uid", release.metadata.uid.clone()),
        PatchOp::add("/status", serde_json::to_value(status).unwrap_or_default()),
    ];
    Some(Write {
        target: release.metadata.object(names::RELEASE),
        verb: Verb::Patch { ops, subresource: Some(Subresource::Status) },
        why: "keep the Release's record in step".to_owned(),
    })
}

/// Deletes finished records above the history limit, the oldest first.
pub(crate) fn prune(world: &World<'_>, status: &ReleasePlanStatus) -> Vec<Write> {
    const AT_ONCE: usize = 5;
    let running = status.release.as_ref().map(|p| p.name.as_str());
    let needed = status.undo.as_ref().map(|u| u.release.as_str());
    let mut finished: Vec<&ReleaseView> = world
        .seen
        .releases
        .iter()
        .map(AsRef::as_ref)
        .filter(|r| is_ours(world, r) && r.spec.target == world.deployment.metadata.name)
        .filter(|r| r.metadata.deletion_timestamp.is_none())
        .filter(|r| Some(r.metadata.name.as_str()) != running && Some(r.metadata.name.as_str()) != needed)
        .filter(|r| r.status.as_ref().is_some_and(|s| s.finished_at.is_some()))
        .collect();
    finished.sort_by_key(|r| r.spec.sequence);
    let limit = usize::try_from(world.plan.spec.history_limit.max(1)).unwrap_or(1);
    let surplus = finished.len().saturating_sub(limit).min(AT_ONCE);
    let delete = |release: &&ReleaseView| {
        let target = release.metadata.object(names::RELEASE);
        Write::delete(target, &release.metadata.uid, "keep the history within its limit")
    };
    finished[..surplus].iter().map(delete).collect()
}
