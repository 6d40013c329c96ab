//! The alerts and the dashboard: alerts fire when they should and only then, each has a runbook, and every metric that they
//! ask for exists.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use trimtab_testkit::Tool;
use trimtab_tests::workspace;

use trimtab_tests::helm::{Helm, file, of_kind};

/// The spec of the rendered rules.
async fn rules(more: &str) -> Result<Value> {
    let [helm, _] = Helm::both().await?;
    let objects = helm.template(&format!("{{metrics: {{prometheusRule: {{enabled: true{more}}}}}}}")).await?;
    Ok(of_kind(&objects, "PrometheusRule").first().context("there are no rules")?["spec"].clone())
}

fn alerts(rules: &Value) -> Vec<&Value> {
    rules["groups"].as_array().into_iter().flatten().flat_map(|g| g["rules"].as_array().into_iter().flatten()).collect()
}

async fn promtool(arguments: &[&str], folder: &std::path::Path) -> Result<()> {
    let out = Command::new(Tool::Promtool.path().await?).args(arguments).current_dir(folder).output().await?;
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(out.status.success(), "promtool {arguments:?}: {said}");
    Ok(())
}

#[tokio::test]
async fn each_alert_fires_when_it_should_and_only_then() -> Result<()> {
    let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let folder = std::env::temp_dir().join(format!("trimtab-alerts-{number}"));
    std::fs::create_dir_all(&folder)?;
    let mut rules = rules("").await?;
    // JSON is YAML.
    std::fs::write(folder.join("full.yaml"), rules.to_string())?;
    promtool(&["check", "rules", "full.yaml"], &folder).await?;
    let tests = include_str!("alerts.yaml");
    for alert in alerts(&rules) {
        let name = alert["alert"].as_str().context("a rule is no alert")?;
        let about = tests.lines().filter(|line| line.contains(&format!("alertname: {name},")));
        let (silent, fires): (Vec<_>, Vec<_>) = about.partition(|line| line.contains("exp_alerts: []"));
        ensure!(
            !silent.is_empty() && !fires.is_empty(),
            "{name}: a test in which it fires and one in which it does not"
        );
    }
    // What they say is for people, and is not repeated in the test.
    for group in rules["groups"].as_array_mut().into_iter().flatten() {
        for rule in group["rules"].as_array_mut().into_iter().flatten() {
            rule.as_object_mut().context("a rule is an object")?.remove("annotations");
        }
    }
    std::fs::write(folder.join("rules.yaml"), rules.to_string())?;
    std::fs::write(folder.join("alerts.yaml"), tests)?;
    promtool(&["test", "rules", "alerts.yaml"], &folder).await?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[tokio::test]
async fn each_alert_has_a_runbook_and_can_be_left_out() -> Result<()> {
    let page = std::fs::read_to_string(workspace().join("docs/reference/alerts.md"))?;
    let headings: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let rules = rules("").await?;
    let mut names = BTreeSet::new();
    for alert in alerts(&rules) {
        let name = alert["alert"].as_str().context("a rule is no alert")?;
        names.insert(name);
        ensure!(headings.contains(name), "docs/reference/alerts.md has no section {name}");
        let url = alert["annotations"]["runbook_url"].as_str().context("an alert has no runbook_url")?;
        ensure!(url.ends_with(&format!("docs/reference/alerts#{}", name.to_lowercase())), "{url}");
    }
    let about: BTreeSet<_> = headings.into_iter().filter(|heading| heading.starts_with("Trimtab")).collect();
    ensure!(about == names, "docs/reference/alerts.md is about alerts that are not there: {about:?}");
    let fewer = self::rules(", disabled: [TrimtabRestarts]").await?;
    ensure!(alerts(&fewer).len() == names.len() - 1);
    ensure!(!fewer.to_string().contains("TrimtabRestarts"));
    Ok(())
}

#[tokio::test]
async fn every_metric_that_is_asked_for_exists() -> Result<()> {
    let reference = std::fs::read_to_string(workspace().join("docs/reference/metrics.md"))?;
    let known: BTreeSet<_> = reference.split('`').skip(1).step_by(2).collect();
    let mut queries: Vec<String> =
        alerts(&rules("").await?).into_iter().filter_map(|alert| alert["expr"].as_str().map(str::to_owned)).collect();
    let dashboard: Value = serde_json::from_str(&file("files/dashboard.json")?)?;
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let targets = panel["targets"].as_array().into_iter().flatten();
        queries.extend(targets.filter_map(|target| target["expr"].as_str().map(str::to_owned)));
    }
    for variable in dashboard["templating"]["list"].as_array().context("no variables")? {
        queries.extend(variable["definition"].as_str().map(str::to_owned));
    }
    ensure!(queries.len() > 30, "only {} queries were found", queries.len());
    for query in &queries {
        for metric in metrics(query) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
            ensure!(
                known.contains(metric) || known.contains(base),
                "{metric} is not in docs/reference/metrics.md: {query}"
            );
        }
    }
    Ok(())
}

/// The names of metrics in a query: the words with an underscore that are no functions, outside of quotes.
fn metrics(query: &str) -> Vec<&str> {
    const WORDS: [&str; 3] = ["histogram_quantile", "label_values", "group_left"];
    let outside = query.split('"').step_by(2);
    let words = outside.flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$')));
    words.filter(|word| word.contains('_') && !word.starts_with('$') && !WORDS.contains(word)).collect()
}

#[tokio::test]
async fn the_dashboard_is_found_by_the_sidecar_and_asks_the_chosen_source() -> Result<()> {
    let [helm, _] = Helm::both().await?;
    let objects = helm.template("{metrics: {grafanaDashboard: {enabled: true}}}").await?;
    let maps = of_kind(&objects, "ConfigMap");
    let map = maps.first().context("there is no dashboard")?;
    ensure!(map["metadata"]["labels"]["grafana_dashboard"] == "1", "{}", map["metadata"]);
    let dashboard: Value = serde_json::from_str(map["data"]["trimtab.json"].as_str().context("no dashboard")?)?;
    ensure!(dashboard["uid"] == "trimtab" && dashboard["templating"]["list"][0]["name"] == "datasource");
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            ensure!(target["datasource"]["uid"] == "${datasource}", "{}", panel["title"]);
        }
    }
    Ok(())
}
