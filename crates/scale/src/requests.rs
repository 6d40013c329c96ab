//! What pods request of a resource, as the HPA sums it up. Not what they use.

use std::collections::BTreeMap;

use crate::PodView;
use crate::metric::Unknown;

/// What each pod requests. One pod without a request makes the whole metric unknown: a share of nothing is no number.
pub(crate) fn requests<'s>(
    pods: &[&'s PodView],
    container: Option<&str>,
    resource: &str,
) -> Result<BTreeMap<&'s str, i64>, Unknown> {
    pods.iter().map(|pod| Ok((pod.name.as_str(), request(pod, container, resource)?))).collect()
}

fn request(pod: &PodView, container: Option<&str>, resource: &str) -> Result<i64, Unknown> {
    if let (Some(own), None) = (&pod.requests, container) {
        // For what the pod itself does not name its containers count, as far as they name it: such a pod is not spoiled by
        // one of them.
        let named = pod.containers.iter().filter_map(|one| one.requests.get(resource));
        let summed = named.map(|milli| milli.0).reduce(i64::saturating_add);
        let found = own.get(resource).map(|milli| milli.0).or(summed);
        return found.ok_or_else(|| missing(resource, &format!("pod {}", pod.name)));
    }
    let mut sum = 0i64;
    for one in pod.containers.iter().filter(|one| container.is_none_or(|name| one.name == name)) {
        let Some(request) = one.requests.get(resource) else {
            return Err(missing(resource, &format!("container {} of pod {}", one.name, pod.name)));
        };
        if container.is_some() {
            return Ok(request.0);
        }
        sum = sum.saturating_add(request.0);
    }
    match container {
        Some(name) => Err(Unknown::new("NoContainer", format!("pod {} has no container {name}", pod.name))),
        None => Ok(sum),
    }
}

fn missing(resource: &str, place: &str) -> Unknown {
    Unknown::new(
        "MissingRequest",
        format!("{place} has no request for {resource}: set one, or use an averageValue target"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(pod: Value, container: Option<&str>, expected: Result<i64, &str>) {
        let pod: PodView = serde_json::from_value(pod).unwrap();
        let found = request(&pod, container, "cpu").map_err(|unknown| unknown.reason);
        assert_eq!(found, expected, "{pod:?}");
    }

    #[test]
    fn what_a_pod_does_not_name_itself_its_containers_do() {
        let pod = |own: Value, containers: &[&str]| {
            let one = |(index, cpu): (usize, &&str)| match *cpu {
                "" => json!({"name": index.to_string()}),
                cpu => json!({"name": index.to_string(), "requests": {"cpu": cpu}}),
            };
            let containers: Vec<Value> = containers.iter().enumerate().map(one).collect();
            json!({"name": "p", "requests": own, "containers": containers})
        };
        let memory = json!({"memory": "256Mi"});
        check(pod(Value::Null, &["100m", "50m"]), None, Ok(150));
        check(pod(Value::Null, &["100m", ""]), None, Err("MissingRequest"));
        check(pod(memory.clone(), &["100m", "50m"]), None, Ok(150));
        check(pod(memory.clone(), &["100m", ""]), None, Ok(100));
        check(pod(memory.clone(), &["", ""]), None, Err("MissingRequest"));
        check(pod(json!({"cpu": "450m"}), &["100m", ""]), None, Ok(450));
        check(pod(memory, &["100m", "50m"]), Some("1"), Ok(50));
    }
}
