//! The values: what is misspelt or senseless is refused with a word, and the chart's README tells them as they are.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use trimtab_tests::helm::{Helm, chart, file};

#[tokio::test]
async fn a_misspelt_value_is_refused_by_its_name() -> Result<()> {
    let wrong = [
        ("{replica: 3}", "replica"),
        ("{controllers: {relase: {enabled: true}}}", "relase"),
        ("{controllers: {release: {enable: true}}}", "enable"),
        ("{image: {tga: v1}}", "tga"),
        ("{metrics: {serviceMonitor: {intervall: 10s}}}", "intervall"),
        ("{metrics: {servicemonitor: {enabled: true}}}", "servicemonitor"),
        ("{resources: {limit: {memory: 1Gi}}}", "limit"),
        ("{probes: {live: {}}}", "live"),
    ];
    for helm in Helm::both().await? {
        for (values, name) in wrong {
            let error = helm.template(values).await.err().with_context(|| format!("{values} was taken"))?;
            ensure!(error.to_string().contains(name), "{values}: {error}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_value_that_makes_no_sense_is_refused_with_a_word() -> Result<()> {
    let wrong = [
        ("{replicas: 2, leaderElection: {enabled: false}}", "leaderElection.enabled"),
        ("{replicas: -1}", "replicas"),
        ("{logging: {level: loud}}", "level"),
        ("{leaderElection: {leaseDuration: fifteen}}", "leaseDuration"),
        ("{namespaces: [Shop]}", "namespaces"),
        ("{serviceAccount: {create: false}}", "serviceAccount.name"),
        ("{metrics: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}}", "enable one"),
        ("{metrics: {serviceMonitor: {enabled: true}, service: {enabled: false}}}", "metrics.service.enabled"),
        ("{image: {digest: latest}}", "digest"),
        ("{uninstall: {mode: vanish}}", "mode"),
    ];
    for helm in Helm::both().await? {
        for (values, word) in wrong {
            let error = helm.template(values).await.err().with_context(|| format!("{values} was taken"))?;
            ensure!(error.to_string().contains(word), "{values}: {error}");
        }
    }
    Ok(())
}

/// Values of these hold names that others choose.
const OPEN: [&str; 1] = ["global"];

#[test]
fn the_schema_is_closed_at_every_level_and_knows_every_value() -> Result<()> {
    let schema: Value = serde_json::from_str(&file("values.schema.json")?)?;
    let values: Value = serde_saphyr::from_str(&file("values.yaml")?)?;
    closed(&schema, "")?;
    same(&schema, &values, "")
}

fn closed(schema: &Value, path: &str) -> Result<()> {
    if let Some(properties) = schema["properties"].as_object() {
        let shut = schema["additionalProperties"] == false;
        ensure!(shut || OPEN.contains(&path.trim_start_matches('.')), "{path} takes names that it does not know");
        properties.iter().try_for_each(|(name, schema)| closed(schema, &format!("{path}.{name}")))?;
    }
    if schema["items"].is_object() {
        closed(&schema["items"], &format!("{path}[]"))?;
    }
    Ok(())
}

/// Every property has a default, and every default a property.
fn same(schema: &Value, values: &Value, path: &str) -> Result<()> {
    let (Some(properties), Some(values)) = (schema["properties"].as_object(), values.as_object()) else {
        return Ok(());
    };
    for (name, value) in values {
        let schema = properties.get(name).with_context(|| format!("{path}.{name} is not in the schema"))?;
        same(schema, value, &format!("{path}.{name}"))?;
    }
    let optional = path.starts_with(".probes.") || OPEN.contains(&path.trim_start_matches('.'));
    let unset: Vec<_> = properties.keys().filter(|name| !values.contains_key(*name)).collect();
    ensure!(optional || unset.is_empty(), "{path}: {unset:?} are not in values.yaml");
    Ok(())
}

const BEGIN: &str = "<!-- values: begin -->\n";
const END: &str = "<!-- values: end -->";

/// `UPDATE_GOLDEN=1` writes the table anew.
#[test]
fn the_readme_of_the_chart_tells_every_value_with_its_default() -> Result<()> {
    let table = table()?;
    let readme = file("README.md")?;
    let (before, rest) = readme.split_once(BEGIN).context("the README has lost the mark of its table")?;
    let (shown, after) = rest.split_once(END).context("the README has lost the end of its table")?;
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(chart().join("README.md"), format!("{before}{BEGIN}{table}{END}{after}"))?;
        return Ok(());
    }
    for line in table.lines() {
        ensure!(
            shown.lines().any(|l| l == line),
            "the README of the chart lacks this line:\n{line}\nUPDATE_GOLDEN=1 writes it"
        );
    }
    ensure!(shown.trim() == table.trim(), "the README of the chart has lines that values.yaml has not");
    Ok(())
}

fn table() -> Result<String> {
    let text = file("values.yaml")?;
    let values: Value = serde_saphyr::from_str(&text)?;
    let mut rows = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    // Where the lines are within nested maps: indentation and name.
    let mut path: Vec<(usize, &str)> = vec![];
    let mut words: Option<&str> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if let Some(text) = line.strip_prefix("# -- ") {
            words = Some(text);
            continue;
        }
        let Some((name, _)) = line.split_once(':').filter(|(name, _)| !name.starts_with(['#', '-'])) else { continue };
        path.retain(|(outer, _)| *outer < indent);
        path.push((indent, name));
        if let Some(words) = words.take() {
            let names: Vec<_> = path.iter().map(|(_, name)| *name).collect();
            let value = names.iter().fold(&values, |value, name| &value[*name]);
            rows.push_str(&format!("| `{}` | `{value}` | {} |\n", names.join("."), words.replace('|', "\\|")));
        }
    }
    Ok(rows)
}

#[test]
fn the_chart_has_the_version_of_the_manager() -> Result<()> {
    let chart: Value = serde_saphyr::from_str(&file("Chart.yaml")?)?;
    let version = env!("CARGO_PKG_VERSION");
    ensure!(chart["appVersion"] == version && chart["version"] == version, "{chart}");
    let images = chart["annotations"]["artifacthub.io/images"].as_str().context("no images")?;
    ensure!(images.contains(&format!("trimtab-manager:{version}")), "{images}");
    Ok(())
}

#[test]
fn every_value_is_told() -> Result<()> {
    let values: Value = serde_saphyr::from_str(&file("values.yaml")?)?;
    let table = table()?;
    let told: Vec<_> = table.lines().filter_map(|line| line.split('`').nth(1)).collect();
    untold(&values, "", &told).map_or(Ok(()), |path| anyhow::bail!("{path} has no `# --` in values.yaml"))
}

/// The first value that nothing is said of.
fn untold(value: &Value, path: &str, told: &[&str]) -> Option<String> {
    if told.contains(&path) {
        return None;
    }
    let Some(map) = value.as_object() else { return Some(path.to_owned()) };
    map.iter().find_map(|(name, value)| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        untold(value, &path, told)
    })
}
