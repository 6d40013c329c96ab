//! The roles: what the permissions say for the controllers that run, and nothing else.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::rendered::CASES;
use trimtab_tests::helm::{Helm, NAMESPACE, file, name, of_kind};

const CONTROLLERS: [&str; 4] = ["release", "config", "reload", "scale"];

/// What is allowed, one verb on one resource each.
type Allowed = BTreeSet<(String, String, String)>;

fn allowed(rules: &Value) -> Allowed {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut all = Allowed::new();
    for rule in rules.as_array().into_iter().flatten() {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                all.extend(strings(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    all
}

/// The rules of a role; none if it is not there.
fn rules_of(objects: &[Value], kind: &str, role: &str) -> Option<Allowed> {
    of_kind(objects, kind).into_iter().find(|o| o["metadata"]["name"] == role).map(|o| allowed(&o["rules"]))
}

fn permissions() -> Result<Value> {
    Ok(serde_saphyr::from_str(&file("files/permissions.yaml")?)?)
}

/// What the permissions ask for, for these controllers.
fn expected(permissions: &Value, controllers: &[&str], secrets: bool) -> Allowed {
    let mut all = allowed(&permissions["always"]);
    for controller in controllers {
        let of = &permissions["controllers"][controller];
        all.extend(allowed(&of["rules"]));
        if secrets {
            all.extend(allowed(&of["secrets"]));
        }
    }
    all
}

#[tokio::test]
async fn a_controller_that_is_switched_off_takes_its_permissions_with_it() -> Result<()> {
    let [helm, _] = Helm::both().await?;
    let permissions = permissions()?;
    let whole = expected(&permissions, &CONTROLLERS, true);
    for off in CONTROLLERS {
        let on: Vec<_> = CONTROLLERS.into_iter().filter(|name| *name != off).collect();
        for secrets in [true, false] {
            let values = format!("{{controllers: {{{off}: {{enabled: false}}}}, secrets: {{enabled: {secrets}}}}}");
            let objects = helm.template(&values).await?;
            let given = rules_of(&objects, "ClusterRole", "trimtab").context("there is no role")?;
            ensure!(given == expected(&permissions, &on, secrets), "{values}: {given:?}");
            // What a controller needs and no other one is gone; `config` shares all of it.
            ensure!(given.is_subset(&whole) && (off == "config" || given != whole), "{off}: nothing is gone");
            let arguments = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
            let flag = format!("--controllers={}", on.join(","));
            ensure!(arguments.as_array().is_some_and(|all| all.iter().any(|a| *a == flag)), "{arguments}");
        }
    }
    for alone in CONTROLLERS {
        let others = CONTROLLERS.into_iter().filter(|name| *name != alone);
        let others: Vec<_> = others.map(|name| format!("{name}: {{enabled: false}}")).collect();
        let objects = helm.template(&format!("{{controllers: {{{}}}}}", others.join(", "))).await?;
        let given = rules_of(&objects, "ClusterRole", "trimtab").context("there is no role")?;
        ensure!(given == expected(&permissions, &[alone], true), "{alone}: {given:?}");
    }
    let error = helm
        .template("{controllers: {release: {enabled: false}, config: {enabled: false}, reload: {enabled: false}, scale: {enabled: false}}}")
        .await
        .err()
        .context("a manager without a controller was rendered")?;
    ensure!(error.to_string().contains("controllers.release.enabled"), "{error}");
    Ok(())
}

#[tokio::test]
async fn without_secrets_no_role_of_the_manager_names_them() -> Result<()> {
    let [helm, _] = Helm::both().await?;
    let objects = helm.template("{secrets: {enabled: false}, reload: {exec: true}}").await?;
    for object in objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role"))) {
        ensure!(!allowed(&object["rules"]).iter().any(|(_, resource, _)| resource == "secrets"), "{}", name(object));
    }
    let arguments = of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    ensure!(arguments.contains("--secrets=false"), "{arguments}");
    Ok(())
}

#[tokio::test]
async fn for_a_list_of_namespaces_there_is_a_role_in_each_and_none_for_all() -> Result<()> {
    let [helm, _] = Helm::both().await?;
    let objects = helm.template("{namespaces: [shop, back, shop]}").await?;
    ensure!(rules_of(&objects, "ClusterRole", "trimtab").is_none(), "there is a role for all namespaces");
    let whole = expected(&permissions()?, &CONTROLLERS, true);
    for (kind, count) in [("Role", 2), ("RoleBinding", 2)] {
        let ours = of_kind(&objects, kind).into_iter().filter(|o| o["metadata"]["name"] == "trimtab");
        let places: BTreeSet<_> = ours.filter_map(|o| o["metadata"]["namespace"].as_str()).collect();
        ensure!(places.len() == count && places == ["back", "shop"].into(), "{kind}: {places:?}");
    }
    for role in of_kind(&objects, "Role").into_iter().filter(|o| o["metadata"]["name"] == "trimtab") {
        ensure!(allowed(&role["rules"]) == whole, "{}", name(role));
    }
    for binding in of_kind(&objects, "RoleBinding").into_iter().filter(|o| o["metadata"]["name"] == "trimtab") {
        let subject = &binding["subjects"][0];
        ensure!(subject["name"] == "trimtab" && subject["namespace"] == NAMESPACE, "{binding}");
    }
    // What is in no namespace takes a ClusterRole, but for nothing else.
    let objects = helm.template("{namespaces: [shop], reload: {namespaceSelector: 'a=b'}}").await?;
    let cluster = rules_of(&objects, "ClusterRole", "trimtab").context("namespaces cannot be watched")?;
    ensure!(cluster.iter().all(|(_, resource, _)| resource == "namespaces") && !cluster.is_empty(), "{cluster:?}");
    Ok(())
}

#[tokio::test]
async fn no_role_has_a_wildcard() -> Result<()> {
    let [helm, _] = Helm::both().await?;
    for (case, values) in CASES {
        let objects = helm.template(&values.replace("NS", "shop")).await?;
        for role in objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role"))) {
            ensure!(!role["rules"].to_string().contains('*'), "{case}: {}: {}", name(role), role["rules"]);
            ensure!(role["rules"].as_array().is_some_and(|rules| !rules.is_empty()), "{case}: {} is empty", name(role));
        }
    }
    for values in [
        "{autoscaler: {customMetrics: ['*']}}",
        "{autoscaler: {externalMetrics: ['*']}}",
        "{autoscaler: {targets: [{group: '*', resource: a}]}}",
    ] {
        ensure!(helm.template(values).await.is_err(), "{values} was taken");
    }
    Ok(())
}

#[tokio::test]
async fn what_people_may_do_is_part_of_kubernetes_own_roles() -> Result<()> {
    let [helm, _] = Helm::both().await?;
    let objects = helm.template("{}").await?;
    let role = |name: &str| {
        let all = of_kind(&objects, "ClusterRole");
        let role = all.into_iter().find(|o| o["metadata"]["name"] == name).with_context(|| name.to_owned())?;
        let labels = role["metadata"]["labels"].as_object().context("no labels")?;
        let into: BTreeSet<String> = labels
            .keys()
            .filter_map(|label| label.strip_prefix("rbac.authorization.k8s.io/aggregate-to-"))
            .map(str::to_owned)
            .collect();
        anyhow::Ok((allowed(&role["rules"]), into))
    };
    let into = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let (view, to) = role("trimtab-view")?;
    ensure!(to == into(&["view"]) && view.iter().all(|(.., verb)| ["get", "list", "watch"].contains(&verb.as_str())));
    let (operate, to) = role("trimtab-operate")?;
    let more: Vec<_> = operate.difference(&view).collect();
    ensure!(to == into(&["admin", "edit"]), "{to:?}");
    ensure!(more == [&("trimtab.dev".into(), "releaseplans".into(), "patch".into())], "{more:?}");
    let (edit, to) = role("trimtab-edit")?;
    ensure!(to == into(&["admin", "edit"]) && edit.is_superset(&operate));
    ensure!(edit.iter().all(|(group, resource, _)| group == "trimtab.dev" && !resource.contains('/')), "{edit:?}");
    let alone = helm.template("{rbac: {userRoles: {aggregate: false}}}").await?;
    let labels = of_kind(&alone, "ClusterRole").into_iter().map(|o| o["metadata"]["labels"].to_string());
    ensure!(labels.into_iter().all(|labels| !labels.contains("aggregate-to")));
    Ok(())
}
