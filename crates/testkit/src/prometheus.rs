//! Prometheus beside a cluster: how it is configured and called, and how it is asked. It is the real program, with Kubernetes' service
//! discovery and no other; it shows no pages.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certs::{self, Authority};
use crate::cluster::Kubelets;
use crate::control_plane::Place;
use crate::keeper::Process;
use trimtab_parts::{Assets, source};

const INTERVAL: &str = "1s";

/// One series' value in a Prometheus' answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The series' labels; its name is `__name__`.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// Picks the address that it will listen on: `HOST:PORT`.
pub(crate) fn address(place: &Place) -> Result<String> {
    Ok(format!("{}:{}", place.address, place.free_port(9090)?))
}

/// Writes its configuration and returns its process.
pub(crate) fn process(
    assets: &Assets,
    place: &Place,
    dir: &Path,
    authority: &Authority,
    kubelets: &Kubelets,
    address: &str,
) -> Result<Process> {
    let client = authority.client("trimtab-prometheus", &["system:masters"])?;
    certs::write_secret(&dir.join("prometheus.kubeconfig"), &authority.kubeconfig(&place.server(), &client)?)?;
    certs::write_identity(dir, "prometheus", &client)?;
    let config = serde_json::to_vec_pretty(&config(place, kubelets))?;
    std::fs::write(dir.join("prometheus.json"), config).context("cannot write Prometheus' configuration")?;
    let argv = [
        format!("--config.file={}", place.file("prometheus.json")),
        format!("--web.listen-address={address}"),
        format!("--storage.tsdb.path={}", place.file("prometheus")),
        "--storage.tsdb.retention.time=1d".into(),
        // A new pod is scraped this soon after it was discovered.
        "--scrape.discovery-reload-interval=1s".into(),
        "--log.level=warn".into(),
    ];
    Ok(Process::new("prometheus", assets.text(source::PROMETHEUS)?, argv).after(place.ready()))
}

/// JSON, for it is YAML too.
fn config(place: &Place, kubelets: &Kubelets) -> Value {
    let discover = |role: &str| json!([{"role": role, "kubeconfig_file": place.file("prometheus.kubeconfig")}]);
    let mut jobs = vec![json!({
        "job_name": "nodes",
        "scheme": "https",
        "tls_config": {
            "ca_file": place.file("ca.crt"),
            "cert_file": place.file("prometheus.crt"),
            "key_file": place.file("prometheus.key"),
        },
        // A series whose target tells the time itself outlives its pod by minutes.
        "honor_timestamps": false,
        "kubernetes_sd_configs": discover("node"),
        "relabel_configs": [
            {"source_labels": ["__meta_kubernetes_node_address_InternalIP"], "target_label": "__address__",
             "replacement": format!("$1:{}", kubelets.port)},
            {"source_labels": ["__meta_kubernetes_node_name"], "target_label": "__metrics_path__",
             "replacement": kubelets.path_of("$1")},
            {"source_labels": ["__meta_kubernetes_node_name"], "target_label": "node"},
        ],
    })];
    if place.real {
        // Nobody answers for a simulated pod.
        jobs.push(json!({
            "job_name": "pods",
            "kubernetes_sd_configs": discover("pod"),
            "relabel_configs": [
                {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], "action": "keep", "regex": "true"},
                {"source_labels": ["__meta_kubernetes_pod_phase"], "action": "keep", "regex": "Running"},
                {"source_labels": ["__meta_kubernetes_pod_container_init"], "action": "drop", "regex": "true"},
                {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scheme"], "regex": "(https?)",
                 "target_label": "__scheme__"},
                {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_path"], "regex": "(.+)",
                 "target_label": "__metrics_path__"},
                {"source_labels": ["__meta_kubernetes_pod_ip", "__meta_kubernetes_pod_annotation_prometheus_io_port"],
                 "regex": "(.+);([0-9]+)", "replacement": "$1:$2", "target_label": "__address__"},
                {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
                {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"},
            ],
        }));
    }
    json!({"global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL}, "scrape_configs": jobs})
}

/// Whether it answers queries.
pub(crate) async fn ready(address: &str) -> Result<bool> {
    Ok(get(address, "/-/ready").await?.0 == 200)
}

/// The values that a query has now.
pub(crate) async fn query(address: &str, promql: &str) -> Result<Vec<Sample>> {
    let (status, body) = get(address, &format!("/api/v1/query?query={}", encode(promql))).await?;
    samples(&body).with_context(|| format!("Prometheus answered `{promql}` with status {status}: {}", body.trim()))
}

fn samples(body: &str) -> Result<Vec<Sample>> {
    let answer: Value = serde_json::from_str(body)?;
    ensure!(answer["status"] == "success", "the query failed");
    let result = match (answer["data"]["resultType"].as_str(), &answer["data"]["result"]) {
        (Some("scalar"), pair) => vec![json!({"metric": {}, "value": pair})],
        (_, result) => result.as_array().context("the answer holds no values")?.clone(),
    };
    let sample = |series: &Value| {
        let value = series["value"][1].as_str().context("the answer is no instant vector: ask for one")?;
        Ok(Sample { labels: serde_json::from_value(series["metric"].clone())?, value: value.parse()? })
    };
    result.iter().map(sample).collect()
}

fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// One request, in the version of HTTP whose answers end with their connection.
async fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("nothing answers on {address}"))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("the answer has no status")?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_its_kind() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"pod":"a"},"value":[1.5,"0.25"]}]}}"#;
        let labels = BTreeMap::from([("pod".to_owned(), "a".to_owned())]);
        assert_eq!(samples(vector).unwrap(), [Sample { labels, value: 0.25 }]);
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"3"]}}"#;
        assert_eq!(samples(scalar).unwrap()[0].value, 3.0);
        assert!(samples(r#"{"status":"error","errorType":"bad_data","error":"no"}"#).is_err());
    }

    #[test]
    fn a_query_survives_its_way_into_a_url() {
        assert_eq!(encode(r#"rate(x{a="b"}[5s]) + 1"#), "rate%28x%7Ba%3D%22b%22%7D%5B5s%5D%29%20%2B%201");
    }
}
