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
}
