//! Why each permission is needed, for people who are to grant it, and the table of it. Held to what is declared by a test: no
//! permission without a reason, no reason without a permission.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{EXEC_OPTION, LEASE_NAME, NAMESPACE_SELECTOR, ROLLOUTS, always, by_controller, own, own_secrets};

const WATCHED: &str = "Seen, to know when there is something to do.";
const FINALIZERS: &str = "What it owns is deleted before its owner is, where the API server guards that (OpenShift does): \
                          nothing is finalized.";
const MAPS: &str = "Seen as digests, names and labels: no value is kept. Single ones are read to be copied and to be looked at by \
                    ConfigPolicies. Copies are made, given to what names them, and deleted when nothing does.";
const SECRETS: &str = "As ConfigMaps. Helm's own are not watched.";

/// Part, resource with its group, why.
const WHY: &[(&str, &str, &str)] = &[
    ("always", "events.events.k8s.io", "Tells what happened; what is said again is counted in the same event."),
    ("release", "configmaps", MAPS),
    ("release", "secrets", SECRETS),
    (
        "release",
        "pods",
        "Seen, to tell that a canary fails, and why. What would become of one is asked (a dry run), to tell whether its configuration would be frozen; none is made.",
    ),
    (
        "release",
        "deployments.apps",
        "Held, released, stopped, pinned to revisions of configuration, restarted on request.",
    ),
    ("release", "deployments/finalizers.apps", FINALIZERS),
    ("release", "replicasets.apps", "A canary is one: made, sized, handed over, taken back, deleted."),
    ("release", "autoscalers.trimtab.dev", "Seen, to tell that a canary is saturated."),
    ("release", "configpolicies.trimtab.dev", "Seen, to know what configuration has to satisfy."),
    ("release", "releaseplans.trimtab.dev", "Seen: what people ask for."),
    ("release", "releaseplans/status.trimtab.dev", "The progress of a release is kept in it."),
    ("release", "releaseplans/finalizers.trimtab.dev", FINALIZERS),
    (
        "release",
        "releases.trimtab.dev",
        "One for each release, kept up to `historyLimit`; an undo reads the template that it keeps.",
    ),
    ("release", "releases/status.trimtab.dev", "What came of it."),
    ("config", "configmaps", MAPS),
    ("config", "secrets", SECRETS),
    ("config", "controllerrevisions.apps", "Seen, to know which copies an undo could need."),
    ("config", "daemonsets.apps", "Those with `trimtab.dev/config-track` are pinned to revisions of configuration."),
    ("config", "statefulsets.apps", "Those with `trimtab.dev/config-track` are pinned to revisions of configuration."),
    (
        "reload",
        "configmaps",
        "Seen as digests; read where pods reload without a restart, to know what their files are to hold.",
    ),
    ("reload", "secrets", "As ConfigMaps. None is written."),
    ("reload", "pods", "Seen, to know what they have; an annotation has their files brought at once."),
    ("reload", "controllerrevisions.apps", "A Job that is made anew is kept in one meanwhile."),
    ("reload", "daemonsets.apps", "Restarted, by their pod template; what they have is noted in an annotation."),
    ("reload", "deployments.apps", "Restarted, by their pod template; what they have is noted in an annotation."),
    ("reload", "statefulsets.apps", "Restarted, by their pod template; what they have is noted in an annotation."),
    ("reload", "daemonsets/status.apps", "Condition `ReloadBlocked`."),
    ("reload", "deployments/status.apps", "Condition `ReloadBlocked`."),
    ("reload", "cronjobs.batch", "Read, to make a run of one; what they have is noted in an annotation."),
    ("reload", "jobs.batch", "Read and made anew, since their pods cannot change; a run of a CronJob is one."),
    (
        "reload/exec",
        "pods/exec",
        "Runs `kill` and `cat` in containers, for `trimtab.dev/reload-mode`. Whoever has this right can do \
      anything that those containers can.",
    ),
    ("reload/namespaceSelector", "namespaces", WATCHED),
    ("reload/rollouts", "rollouts.argoproj.io", "Restarted; what they have is noted in an annotation."),
    ("scale", "pods", "Seen, to know which count and since when they are ready."),
    ("scale", "deployments.apps", "Seen: the size that is."),
    ("scale", "replicasets.apps", "Seen, to know whose pods are whose."),
    ("scale", "statefulsets.apps", "Seen: the size that is."),
    ("scale", "deployments/scale.apps", "The size that is to be: nothing else of them can be changed by it."),
    ("scale", "statefulsets/scale.apps", "The size that is to be: nothing else of them can be changed by it."),
    ("scale", "replicasets/scale.apps", "The size that is and is to be, of those that stand alone."),
    ("scale", "horizontalpodautoscalers.autoscaling", "Seen, to tell that two scale the same."),
    ("scale", "pods.metrics.k8s.io", "What pods use."),
    ("scale", "autoscalers.trimtab.dev", "Seen: what people ask for."),
    ("scale", "autoscalers/status.trimtab.dev", "The last decision, its history, and what keeps it."),
    ("scale", "releaseplans.trimtab.dev", "Seen, to take no pod away while a step is judged."),
    (
        "own",
        "leases.coordination.k8s.io",
        "Of several managers one works. One object by its name, but for its creation.",
    ),
    (
        "ownSecrets",
        "secrets",
        "The key for digests of Secrets, so that nobody guesses short ones from them. One object by its name, but for its creation.",
    ),
];

/// Every part with its rules, in the order of the page.
fn parts() -> Vec<(String, String, Vec<PolicyRule>)> {
    let mut all =
        vec![("always".to_owned(), "Always, in every namespace that it works in".to_owned(), always().rules())];
    for name in crate::manager::CONTROLLERS {
        let Some(needs) = by_controller().remove(name) else { continue };
        all.push((name.to_owned(), format!("With controller `{name}`"), needs.rules.rules()));
        if !needs.secrets.is_empty() {
            all.push((name.to_owned(), format!("With controller `{name}` and `--secrets`"), needs.secrets.rules()));
        }
        for (option, title) in [
            (EXEC_OPTION, "where pods reload by a signal, or their files are looked at"),
            (NAMESPACE_SELECTOR, "with `--namespace-selector`, in the whole cluster"),
            (ROLLOUTS, "where there are Rollouts of Argo Rollouts"),
        ] {
            if let Some(grants) = needs.options.get(option) {
                all.push((format!("{name}/{option}"), format!("With controller `{name}`, {title}"), grants.rules()));
            }
        }
    }
    all.push(("own".to_owned(), "In its own namespace".to_owned(), own(LEASE_NAME)));
    all.push(("ownSecrets".to_owned(), "In its own namespace with `--secrets`".to_owned(), own_secrets()));
    all
}

/// Verbs by resource with its group, of some rules.
fn by_resource(rules: &[PolicyRule]) -> BTreeMap<String, Vec<&str>> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for rule in rules {
        let group = rule.api_groups.iter().flatten().next().map_or("", String::as_str);
        for resource in rule.resources.iter().flatten() {
            let name = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
            found.entry(name).or_default().extend(rule.verbs.iter().map(String::as_str));
        }
    }
    found
}

/// The tables of the reference page, in Markdown.
pub fn tables() -> String {
    let mut text = String::new();
    for (part, title, rules) in parts() {
        // Writing to a String does not fail.
        let _ = write!(text, "\n### {title}\n\n| resource | verbs | why |\n|---|---|---|\n");
        for (resource, verbs) in by_resource(&rules) {
            let why = WHY.iter().find(|row| row.0 == part && row.1 == resource).map_or("", |row| row.2);
            let _ = writeln!(text, "| `{resource}` | {} | {why} |", verbs.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_permission_has_a_reason_and_every_reason_a_permission() {
        let declared: BTreeSet<(String, String)> = parts()
            .into_iter()
            .flat_map(|(part, _, rules)| {
                by_resource(&rules).into_keys().map(move |resource| (part.clone(), resource)).collect::<Vec<_>>()
            })
            .collect();
        let explained: BTreeSet<(String, String)> =
            WHY.iter().map(|(part, resource, _)| ((*part).to_owned(), (*resource).to_owned())).collect();
        assert_eq!(explained.len(), WHY.len(), "a row is there twice");
        assert_eq!(declared, explained);
    }
}
