//! An autoscaler by name from the cluster, or from a file as people keep it: YAML or JSON, with other objects around it. Not
//! what is done with it.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use kube::Api;
use serde_json::Value;
use trimtab_crds::{Autoscaler, AutoscalerSpec};

use crate::{
    args::Cluster,
    autoscaler::difference,
    autoscaler::documents,
    connect::connect,
    paint::{WARN, paint, tell},
};

/// An autoscaler and what it is called.
#[derive(Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub spec: AutoscalerSpec,
}

/// The autoscaler in a file.
pub fn of_file(path: &Path) -> Result<Named> {
    let (file, text) = documents::read(path)?;
    let (named, unread) = parse(&file, &text)?;
    if !unread.is_empty() {
        let head = paint(WARN, "left out:");
        let what = unread.join(", ");
        tell(&format!("{head} {file}: {what}: an Autoscaler has no such field; see whether it is misspelt"));
    }
    Ok(named)
}

/// The first autoscaler among the documents of a text, and the fields of it that nobody knows.
fn parse(file: &str, text: &str) -> Result<(Named, Vec<String>)> {
    let mut begins = 0;
    let mut kinds = vec![];
    for document in documents_of(text) {
        // The lines before it, so that an error names the line of the file.
        let before = "\n".repeat(begins);
        begins += document.matches('\n').count();
        if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with(['#', '-'])) {
            continue;
        }
        let padded = format!("{before}{document}");
        let wrong = |error: serde_saphyr::Error| anyhow!("{file}: {}", error.to_string().trim());
        let value: Value = serde_saphyr::from_str(&padded).map_err(wrong)?;
        let kind = value["kind"].as_str().unwrap_or_default();
        if kind != "Autoscaler" {
            kinds.push(if kind.is_empty() { "an object without a kind".to_owned() } else { kind.to_owned() });
            continue;
        }
        let read: Autoscaler = serde_saphyr::from_str(&padded).map_err(wrong)?;
        let unread = difference::unread(&value["spec"], &serde_json::to_value(&read.spec)?);
        let unread = unread.into_iter().map(|field| format!("spec.{field}")).collect();
        check(&read.spec).with_context(|| file.to_owned())?;
        let name = read.metadata.name.unwrap_or_else(|| read.spec.target_ref.name.clone());
        return Ok((Named { name, spec: read.spec }, unread));
    }
    let found = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
    bail!(
        "{file} holds no Autoscaler, but {found}: name a file with an object of kind Autoscaler (trimtab.dev/v1alpha1)"
    )
}

fn documents_of(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            starts.push(at + line.trim_end().len().min(3));
        }
        at += line.len();
    }
    starts.push(text.len());
    starts.windows(2).filter_map(|pair| text.get(*pair.first()?..*pair.last()?)).map(trim_mark).collect()
}

/// A document without the mark of the one after it.
fn trim_mark(document: &str) -> &str {
    document.strip_suffix("---").unwrap_or(document)
}

/// What the API server would refuse, and what would make nonsense here.
fn check(spec: &AutoscalerSpec) -> Result<()> {
    if spec.min_replicas < 0 || spec.min_replicas > spec.max_replicas || spec.max_replicas < 1 {
        let (min, max) = (spec.min_replicas, spec.max_replicas);
        bail!(
            "minReplicas is {min} and maxReplicas {max}: write 0 <= minReplicas <= maxReplicas, and maxReplicas above 0"
        );
    }
    Ok(())
}

/// The autoscaler of this name in the cluster.
pub async fn of_cluster(name: &str, cluster: &Cluster) -> Result<Named> {
    let to = connect(cluster).await?;
    let api: Api<Autoscaler> = Api::namespaced(to.client.clone(), &to.namespace);
    let found = api.get_opt(name).await.map_err(|error| to.explain(error))?;
    let found = found.with_context(|| {
        format!(
            "there is no Autoscaler {name} in namespace {}: list them with kubectl get autoscalers -A",
            to.namespace
        )
    })?;
    Ok(Named { name: name.to_owned(), spec: found.spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "kind: Deployment\n---\n# ours\napiVersion: trimtab.dev/v1alpha1\nkind: Autoscaler\n\
                        metadata: {name: web}\nspec:\n  targetRef: {kind: Deployment, name: shop}\n  maxReplicas: 5\n";

    #[test]
    fn the_autoscaler_is_found_among_other_objects() {
        let (named, unread) = parse("a.yaml", GOOD).unwrap();
        assert_eq!((named.name.as_str(), named.spec.max_replicas, unread.len()), ("web", 5, 0));
        let (_, unread) = parse("a.yaml", &format!("{GOOD}  minReplcas: 2\n")).unwrap();
        assert_eq!(unread, ["spec.minReplcas"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let wrong = |text: &str| format!("{:#}", parse("a.yaml", text).unwrap_err());
        let text = wrong(&GOOD.replace("maxReplicas: 5", "maxReplicas: many"));
        assert!(text.starts_with("a.yaml: ") && text.contains("line 9"), "{text}");
        assert!(wrong("kind: Deployment").contains("holds no Autoscaler, but Deployment"));
        assert!(wrong("").contains("but nothing"));
        assert!(
            wrong(&GOOD.replace("maxReplicas: 5", "maxReplicas: 0")).contains("minReplicas is 1 and maxReplicas 0")
        );
    }
}
