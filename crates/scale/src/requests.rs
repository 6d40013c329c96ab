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
        let found = own.get(resource).map(|milli| milli.0);
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
