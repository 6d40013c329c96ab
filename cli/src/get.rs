//! `trimtab get`: plans and how they stand.

use anyhow::Result;
use jiff::Timestamp;
use kube::{Api, api::ListParams};
use serde_json::json;
use trimtab_crds::{Phase, ReleasePlan};

use crate::{
    Exit,
    args::{Get, Output},
    connect::connect,
    paint::{columns, out, tell},
    panel,
    table::render,
    times,
};

/// Prints plans.
pub async fn run(options: Get) -> Result<Exit> {
    let to = connect(&options.cluster).await?;
    let plans = match &options.plan {
        Some(reference) => vec![to.find(reference).await?],
        None => {
            let api = if options.all_namespaces { Api::all(to.client.clone()) } else { to.plans() };
            api.list(&ListParams::default()).await.map_err(|e| to.explain(e))?.items
        }
    };
    if plans.is_empty() && matches!(options.output, Output::Table | Output::Wide) {
        tell(&match options.all_namespaces {
            true => "there are no release plans".to_owned(),
            false => format!("there are no release plans in namespace {}", to.namespace),
        });
        return Ok(Exit::Done);
    }
    let one = options.plan.is_some();
    out(&match options.output {
        Output::Json => format!("{:#}\n", value(&plans, one)?),
        Output::Yaml => serde_saphyr::to_string(&value(&plans, one)?)?,
        Output::Name => plans.iter().map(|p| format!("releaseplan.trimtab.dev/{}\n", name(p))).collect(),
        Output::Table => table(&plans, Timestamp::now(), options.all_namespaces, false, columns()),
        Output::Wide => table(&plans, Timestamp::now(), options.all_namespaces, true, None),
    });
    Ok(Exit::Done)
}

/// The objects, without the record of who wrote which field, which nobody reads.
fn value(plans: &[ReleasePlan], one: bool) -> Result<serde_json::Value> {
    let mut plans = plans.to_vec();
    plans.iter_mut().for_each(|plan| plan.metadata.managed_fields = None);
    Ok(match plans.as_slice() {
        [plan] if one => serde_json::to_value(plan)?,
        _ => json!({"apiVersion": "v1", "kind": "List", "items": plans}),
    })
}

fn name(plan: &ReleasePlan) -> &str {
    plan.metadata.name.as_deref().unwrap_or_default()
}

fn table(plans: &[ReleasePlan], now: Timestamp, namespaces: bool, wide: bool, columns: Option<usize>) -> String {
    let mut headings = vec!["NAME", "TARGET", "PHASE", "STEP", "WEIGHT", "PODS", "AGE"];
    if wide {
        headings.extend(["RELEASE", "STABLE", "BY"]);
    }
    headings.push("MESSAGE");
    if namespaces {
        headings.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = plans.iter().map(|plan| row(plan, now, namespaces, wide)).collect();
    render(&headings, &rows, columns)
}

fn row(plan: &ReleasePlan, now: Timestamp, namespaces: bool, wide: bool) -> Vec<String> {
    let status = plan.status.clone().unwrap_or_default();
    let phase = match &plan.status {
        Some(status) => panel::phase(status.phase),
        None => panel::phase(Phase::Waiting),
    };
    let created = plan.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let mut cells = vec![
        name(plan).to_owned(),
        plan.spec.target_ref.name.clone(),
        phase,
        status.step.unwrap_or_else(|| "-".to_owned()),
        status.weight.map_or_else(|| "-".to_owned(), |weight| weight.text),
        status.pods.unwrap_or_else(|| "-".to_owned()),
        times::age(created, now),
    ];
    if wide {
        let release = status.release.as_ref();
        cells.push(release.map_or_else(|| "-".to_owned(), |p| p.name.clone()));
        cells.push(status.stable.map_or_else(|| "-".to_owned(), |s| s.replica_set));
        cells.push(release.map_or_else(|| "-".to_owned(), |p| p.by.clone()));
    }
    cells.push(match plan.status {
        Some(_) => status.message,
        None => "no manager has seen this plan yet: is trimtab-manager running?".to_owned(),
    });
    if namespaces {
        cells.insert(0, plan.metadata.namespace.clone().unwrap_or_default());
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::plain;

    fn check(status: serde_json::Value, wide: bool, expected: &str) {
        let plan: ReleasePlan = serde_json::from_value(json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "ReleasePlan",
            "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"targetRef": {"name": "web"}}, "status": status,
        }))
        .unwrap();
        let now: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(plain(&table(&[plan], now, false, wide, None)), expected);
    }

    #[test]
    fn a_plan_is_a_row() {
        check(
            json!({"phase": "Paused", "message": "step 2/4: pausing", "step": "2/4", "pods": "4 stable + 1 canary",
                   "weight": {"asked": 20, "actual": 20, "text": "20%"}}),
            false,
            "NAME   TARGET   PHASE    STEP   WEIGHT   PODS                  AGE   MESSAGE\n\
             web    web      Paused   2/4    20%      4 stable + 1 canary   5m    step 2/4: pausing\n",
        );
        check(
            serde_json::Value::Null,
            true,
            "NAME   TARGET   PHASE     STEP   WEIGHT   PODS   AGE   RELEASE   STABLE   BY   MESSAGE\n\
             web    web      Waiting   -      -        -      5m    -         -        -    \
             no manager has seen this plan yet: is trimtab-manager running?\n",
        );
    }
}
