//! Paths of the API server's resources. Not requests: what is asked there is up to the caller.

use trimtab_plan::{Kind, ObjectRef};

/// The path of all objects of a kind, in one namespace unless it is empty.
pub(crate) fn collection(kind: &Kind, namespace: &str) -> String {
    let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    if kind.namespaced && !namespace.is_empty() {
        format!("{root}/{}/namespaces/{namespace}/{}", kind.version, kind.plural)
    } else {
        format!("{root}/{}/{}", kind.version, kind.plural)
    }
}

/// The path of one object, or of a subresource of it.
pub(crate) fn object(object: &ObjectRef, subresource: &str) -> String {
    let mut path = collection(&object.kind, &object.namespace);
    path.push('/');
    push_encoded(&mut path, &object.name);
    if !subresource.is_empty() {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

/// Adds text in URL encoding.
pub(crate) fn push_encoded(to: &mut String, text: &str) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or('0');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// What is said of a path that is not.
pub(crate) const NOT_PLAIN: &str = "a name in it is empty, \".\" or \"..\", or holds \"/\" or \"%\"";

/// Whether every segment of a path, in URL encoding, is one to the API server as well: it takes an encoded slash for a slash,
/// and what stands between may follow dots. As Kubernetes' own clients refuse names that are no segments.
pub(crate) fn is_plain(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let encoded = |segment: &str| ["%2f", "%25", "%00"].iter().any(|code| segment.to_ascii_lowercase().contains(code));
    let fits = |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && !encoded(segment);
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(fits))
}

/// Groups that the API server serves itself, as far as this process asks for them. Any other may be an extension API server's.
const OWN: [&str; 7] =
    ["apps", "authorization.k8s.io", "autoscaling", "batch", "coordination.k8s.io", "events.k8s.io", "policy"];
/// Subresources of pods, nodes and Services whose answers come from elsewhere.
const ELSEWHERE: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// Whether the answer at a path is the API server's own, and not one that it passes on.
pub(crate) fn is_api_servers_own(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    match segments.next() {
        Some("api") => !segments.any(|segment| ELSEWHERE.contains(&segment)),
        Some("apis") => segments.next().is_some_and(|group| OWN.contains(&group)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_api_server() {
        let pods = Kind::namespaced("", "v1", "Pod", "pods");
        let roles = Kind::cluster("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles");
        assert_eq!(collection(&pods, ""), "/api/v1/pods");
        assert_eq!(object(&pods.object("a", "b"), "eviction"), "/api/v1/namespaces/a/pods/b/eviction");
        let role = object(&roles.object("", "system:node"), "");
        assert_eq!(role, "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode");
    }

    #[test]
    fn a_name_that_is_more_or_less_than_a_segment_makes_no_path() {
        let pods = Kind::namespaced("", "v1", "Pod", "pods");
        for fine in ["b", "system:node", "a.b", "...", "a|b", "*", "ä"] {
            assert!(is_plain(&object(&pods.object("a", fine), "")), "{fine}");
        }
        for bad in ["", ".", "..", "a/b", "../../kube-system/pods/x", "a%2Fb", "%2e%2e", "a\0"] {
            assert!(!is_plain(&object(&pods.object("a", bad), "")), "{bad}");
        }
        assert!(is_plain("/api/v1/pods?labelSelector=a%2Fb%3Dc"));
        assert!(!is_plain("api/v1") && !is_plain("//api") && !is_plain("/api/%2Fv1%2Fsecrets"));
    }

    #[test]
    fn only_the_api_server_tells_the_time() {
        for own in [
            "/api/v1/pods",
            "/apis/apps/v1/namespaces/a/deployments/web",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/x",
        ] {
            assert!(is_api_servers_own(own), "{own}");
        }
        for other in [
            "/apis/metrics.k8s.io/v1beta1/namespaces/a/pods",
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/a/pods/*/rps",
            "/apis/external.metrics.k8s.io",
            "/apis/example.com/v1/queues",
            "/apis",
            "/api/v1/namespaces/a/pods/web/exec",
            "/api/v1/namespaces/a/services/web/proxy/x",
            "/",
            "",
        ] {
            assert!(!is_api_servers_own(other), "{other}");
        }
    }
}
