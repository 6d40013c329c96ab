//! The names by which objects refer to kinds: patterns for the schema, and the same checked where they are used. An object
//! may be older than the pattern, and what is made of its text is a path on the API server.

/// An API version: a group that is a DNS name, and a version that is a DNS label.
pub(crate) const API_VERSION: &str =
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[a-z]([-a-z0-9]*[a-z0-9])?$";
/// A kind.
pub(crate) const KIND: &str = r"^[A-Za-z][-A-Za-z0-9]*$";
/// What is one segment of a path on the API server.
pub(crate) const SEGMENT: &str = r"^[^/%]+$";

/// The group and the version of an API version: `apps/v1`, `v1`. `None` if it is none.
pub fn api_version(text: &str) -> Option<(&str, &str)> {
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    let is_core = !text.contains('/');
    let begins = version.starts_with(|c: char| c.is_ascii_lowercase());
    ((is_core || group.split('.').all(is_label)) && is_label(version) && begins).then_some((group, version))
}

fn is_label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(fits) && text.ends_with(fits) && text.chars().all(|c| fits(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_version_is_a_group_and_a_version_and_nothing_else() {
        for (text, group, version) in [
            ("v1", "", "v1"),
            ("apps/v1", "apps", "v1"),
            ("autoscaling/v2beta2", "autoscaling", "v2beta2"),
            ("turn2.example.com/v1alpha1", "turn2.example.com", "v1alpha1"),
            ("x-y.io/stable", "x-y.io", "stable"),
        ] {
            assert_eq!(api_version(text), Some((group, version)), "{text}");
        }
        for text in [
            "",
            "/",
            "/v1",
            "v1/",
            "/v1/secrets",
            "apps/v1/deployments",
            "..",
            "a/..",
            "../v1",
            "apps/",
            "Apps/v1",
            "apps/V1",
            "apps/v1?x=y",
            "apps/v1#",
            "apps/v 1",
            "apps%2Fv1",
            "a..b/v1",
            ".a/v1",
            "a./v1",
            "-a/v1",
            "apps/1",
            "apps/v1-",
            "ä/v1",
            "apps\\v1",
            "api/v1/namespaces/kube-system/secrets",
            "v1\n",
        ] {
            assert_eq!(api_version(text), None, "{text}");
        }
    }
}
