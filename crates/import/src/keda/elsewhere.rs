//! Triggers that have no counterpart: what to do instead. Names of exporters and their metrics are hints, not promises.

use serde_json::Value;

/// For kinds that many use: where the same number is in Prometheus.
const EXPORTED: [(&str, &str); 14] = [
    ("kafka", "kafka-exporter has the lag: sum(kafka_consumergroup_lag{consumergroup=\"...\",topic=\"...\"})"),
    ("apache-kafka", "kafka-exporter has the lag: sum(kafka_consumergroup_lag{consumergroup=\"...\",topic=\"...\"})"),
    ("rabbitmq", "RabbitMQ's own plug-in has it: sum(rabbitmq_queue_messages{queue=\"...\"})"),
    ("redis", "redis_exporter has it for a list that it is told of: sum(redis_key_size{key=\"...\"})"),
    ("redis-streams", "redis_exporter has it for a stream that it is told of: redis_stream_group_messages_pending"),
    ("aws-sqs-queue", "an exporter for CloudWatch has ApproximateNumberOfMessagesVisible"),
    ("aws-cloudwatch", "an exporter for CloudWatch has the same number"),
    ("postgresql", "sql_exporter runs the same query"),
    ("mysql", "sql_exporter runs the same query"),
    ("nats-jetstream", "prometheus-nats-exporter has it: sum(nats_consumer_num_pending{consumer_name=\"...\"})"),
    (
        "kubernetes-workload",
        "kube-state-metrics knows the pods: count(kube_pod_status_phase{namespace=\"...\",phase=~\"Pending|Running\"} == 1), \
         joined with kube_pod_labels",
    ),
    ("metrics-api", "json_exporter makes a metric of the answer"),
    ("external", "let the program that answers KEDA also serve /metrics"),
    ("external-push", "let the program that answers KEDA also serve /metrics"),
];

/// What to do about a trigger of this kind.
pub(super) fn advice(kind: &str, index: usize, object: &Value) -> String {
    // KEDA's kinds are plain; a name that is not plain is not repeated.
    let plain = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let what =
        if plain { format!("a {kind} trigger has no counterpart here") } else { "its type is not known".to_owned() };
    let known = EXPORTED.iter().find(|(name, _)| *name == kind);
    let exporter = known.map_or_else(String::new, |(_, how)| format!(" ({how})"));
    let (metric, selector) = served(index, object);
    format!(
        "{what}: expose the number as a Prometheus metric{exporter}; or keep KEDA's metrics server and this ScaledObject and \
         write an External metric named {metric} with matchLabels {selector}, while KEDA must not scale \
         (autoscaling.keda.sh/paused: \"true\"); look first whether KEDA still answers for it: kubectl get --raw \
         /apis/external.metrics.k8s.io/v1beta1/namespaces/NAMESPACE/{metric}?labelSelector=..."
    )
}

/// What KEDA's metrics server calls the trigger's metric. The status names it; without a status only its beginning is known.
fn served(index: usize, object: &Value) -> (String, String) {
    let names = object["status"]["externalMetricNames"].as_array();
    let prefix = format!("s{index}-");
    let name = names.into_iter().flatten().filter_map(Value::as_str).find(|name| name.starts_with(&prefix));
    let name = name.map_or_else(|| format!("{prefix}... (status.externalMetricNames says which)"), str::to_owned);
    let of = object["metadata"]["name"].as_str().unwrap_or_default();
    (name, format!("scaledobject.keda.sh/name: {of}"))
}
