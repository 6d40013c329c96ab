//! `trimtab import`: a HorizontalPodAutoscaler or ScaledObject, out of a file or the cluster, printed as an `Autoscaler`. Nothing
//! is written to the cluster; what becomes of each field is decided in `trimtab-import`.

use std::{io::Read as _, path::Path, path::PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::{Args as Options, Subcommand, ValueEnum};
use kube::{
    Api,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use trimtab_import::{Imported, Refused, Source, Weight};

use crate::{
    Exit,
    args::{Cluster, name},
    connect::{Connection, connect},
    paint::{BAD, DIM, out, paint, tell},
};

/// `import`
#[derive(Debug, Subcommand)]
pub enum Import {
    /// A HorizontalPodAutoscaler (autoscaling/v2, or v1 with its annotations)
    Hpa(From),
    /// A ScaledObject of KEDA
    Keda(From),
}

/// Where from, and in which form.
#[derive(Debug, Options)]
#[group(id = "from", required = true, multiple = false, args = ["file", "object"])]
pub struct From {
    /// Its name in the cluster
    #[arg(value_name = "NAME", value_parser = name)]
    object: Option<String>,
    /// A file with manifests, all of which are converted; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Let the result only recommend, so that it can run beside what it comes from
    #[arg(long)]
    recommend: bool,
    /// The form of the answer
    #[arg(short, long, value_enum, default_value_t = Form::Yaml)]
    output: Form,
    #[command(flatten)]
    cluster: Cluster,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// YAML, with what is not carried over as comments
    Yaml,
    /// JSON
    Json,
}

/// Converts and prints.
pub async fn run(what: Import) -> Result<Exit> {
    let (source, from) = match what {
        Import::Hpa(from) => (Source::Hpa, from),
        Import::Keda(from) => (Source::Keda, from),
    };
    let how = trimtab_import::Options { recommend: from.recommend, namespace: from.cluster.namespace.clone() };
    let converted = match (&from.file, &from.object) {
        (Some(file), _) => trimtab_import::import(&read(file)?, source, &how),
        (None, Some(name)) => {
            let object = fetch(name, source, &from.cluster).await?;
            trimtab_import::import_object(&object, source, &how).map(|one| vec![one])
        }
        (None, None) => return Ok(refused(&anyhow!("name an object, or a file with -f"))),
    };
    let all = match converted.and_then(|all| Ok((text(&all, from.output)?, all))) {
        Ok((text, all)) => {
            out(&text);
            all
        }
        Err(why) => return Ok(refused(&why.into())),
    };
    remarks(&all);
    tell(&paint(DIM, hand_over(&all, source)));
    Ok(Exit::Done)
}

fn refused(why: &anyhow::Error) -> Exit {
    tell(&format!("{} {why}", paint(BAD, "error:")));
    Exit::Usage
}

fn text(all: &[Imported], form: Form) -> Result<String, Refused> {
    match form {
        Form::Yaml => trimtab_import::yaml(all),
        Form::Json => Ok(trimtab_import::json(all)),
    }
}

fn read(file: &Path) -> Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The object as it is in the cluster.
async fn fetch(name: &str, source: Source, cluster: &Cluster) -> Result<serde_json::Value> {
    let to = connect(cluster).await?;
    let (kind, plural) = match source {
        Source::Hpa => (GroupVersionKind::gvk("autoscaling", "v2", source.kind()), "horizontalpodautoscalers"),
        Source::Keda => (GroupVersionKind::gvk("keda.sh", "v1alpha1", source.kind()), "scaledobjects"),
    };
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    let api: Api<DynamicObject> = Api::namespaced_with(to.client.clone(), &to.namespace, &resource);
    let mut object = api.get(name).await.map_err(|error| explain(error, name, source, &to))?;
    // An answer about one object says its kind, but need not.
    object.types.get_or_insert(kube::core::TypeMeta { api_version: resource.api_version, kind: resource.kind });
    Ok(serde_json::to_value(object)?)
}

fn explain(error: kube::Error, name: &str, source: Source, to: &Connection) -> anyhow::Error {
    let kind = source.kind();
    match &error {
        kube::Error::Api(status) if status.code == 404 && status.message.contains(name) => {
            anyhow!("there is no {kind} {name} in namespace {}: name another namespace with -n", to.namespace)
        }
        kube::Error::Api(status) if status.code == 404 => {
            anyhow!("this cluster knows no {kind}: name another with --context, or give a manifest with -f")
        }
        _ => to.explain(error),
    }
}

/// Repeats what is lost and what differs where it is seen also when the output goes to a file.
fn remarks(all: &[Imported]) {
    for one in all {
        for remark in &one.remarks {
            let line = format!("{}: {remark}", one.name);
            tell(&if remark.weight == Weight::Lost { paint(BAD, line) } else { line });
        }
    }
}

/// How the one takes over from the other without a moment in which nobody or both scale.
fn hand_over(all: &[Imported], source: Source) -> String {
    let (name, options) = match all {
        [one] => (one.name.as_str(), one.namespace.as_ref().map_or_else(String::new, |space| format!(" -n {space}"))),
        _ => ("NAME", " -n NAMESPACE".to_owned()),
    };
    let (old, kind) = match source {
        Source::Hpa => ("hpa", "HPA"),
        Source::Keda => ("scaledobject", "ScaledObject"),
    };
    let paused = all.iter().any(|one| one.autoscaler["spec"]["mode"] == "Paused");
    let first = if paused { "mend what made it Paused, then apply it" } else { "apply it" };
    let set = r#"--type merge -p '{"spec":{"mode":"Auto"}}'"#;
    format!(
        "to hand over without a gap:\n\
         1. {first} with mode: Recommend (--recommend), beside the {kind}\n\
         2. compare for as long as you like: kubectl get autoscaler,hpa{options}\n\
         3. kubectl delete {old} {name}{options}      (the size stays as it is)\n\
         4. kubectl patch autoscaler {name}{options} {set}"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Verb};

    fn parse(line: &str) -> Result<From, clap::Error> {
        match Args::try_parse_from(line.split_whitespace())?.verb {
            Verb::Import(Import::Hpa(from) | Import::Keda(from)) => Ok(from),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_object_comes_from_a_file_or_the_cluster() {
        let from = parse("trimtab import hpa web -n shop --recommend -o json").unwrap();
        assert_eq!((from.object.as_deref(), from.recommend, from.output), (Some("web"), true, Form::Json));
        assert_eq!(parse("trimtab import keda -f -").unwrap().file.as_deref(), Some(Path::new("-")));
        for wrong in ["trimtab import hpa", "trimtab import hpa web -f a.yaml", "trimtab import hpa ../web"] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn the_hand_over_names_the_object() {
        let text = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web, namespace: shop}, spec: \
                    {maxReplicas: 2, scaleTargetRef: {kind: Deployment, name: web}}}";
        let all = trimtab_import::import(text, Source::Hpa, &trimtab_import::Options::default()).unwrap();
        let hint = hand_over(&all, Source::Hpa);
        assert!(hint.contains("kubectl delete hpa web -n shop"), "{hint}");
        assert!(
            hint.contains(r#"kubectl patch autoscaler web -n shop --type merge -p '{"spec":{"mode":"Auto"}}'"#),
            "{hint}"
        );
        assert!(hand_over(&[], Source::Keda).contains("kubectl delete scaledobject NAME"));
    }
}
