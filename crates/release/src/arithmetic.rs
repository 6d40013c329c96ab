//! How many pods: the arithmetic of canaries and of a Deployment's limits.

use serde_json::Value;

/// Pods of a canary beside `stable` pods so that its share is `weight` percent.
///
/// ```text
/// c = clamp(round(N·w / (100 − w)), 1, N)      for 0 < w < 100
/// ```
/// Stable stays at N, so shares above 50 % cannot be exact: `c` is never above N. 0 pods for N = 0.
///
/// ```
/// use trimtab_release::canary_replicas;
/// assert_eq!(canary_replicas(10, 5), 1);
/// assert_eq!(canary_replicas(10, 25), 3);
/// assert_eq!(canary_replicas(10, 50), 10);
/// assert_eq!(canary_replicas(10, 90), 10);
/// assert_eq!(canary_replicas(0, 25), 0);
/// ```
pub fn canary_replicas(stable: i32, weight: i32) -> i32 {
    if stable <= 0 {
        return 0;
    }
    let (n, w) = (i64::from(stable), i64::from(weight.clamp(1, 99)));
    // Rounded half up: (2·n·w + d) / 2·d with d = 100 − w.
    let rounded = (2 * n * w + (100 - w)) / (2 * (100 - w));
    i32::try_from(rounded.clamp(1, n)).unwrap_or(stable)
}

/// `percent` of `of`, rounded up.
pub fn percent_up(of: i32, percent: i32) -> i32 {
    let value = (i64::from(of) * i64::from(percent) + 99) / 100;
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The share of `part` in `part + rest`, in percent, rounded half up; 0 of nothing.
pub fn share(part: i32, rest: i32) -> i32 {
    let (part, all) = (i64::from(part), i64::from(part) + i64::from(rest));
    if all <= 0 { 0 } else { i32::try_from((200 * part + all) / (2 * all)).unwrap_or(0) }
}

/// A Deployment's limits in pods: `(maxSurge, maxUnavailable)`, as its controller resolves them: surge rounded up,
/// unavailable rounded down, and if both are 0 then one pod may be unavailable.
pub fn limits(replicas: i32, max_surge: &Value, max_unavailable: &Value) -> (i32, i32) {
    let surge = int_or_percent(max_surge, replicas, true).unwrap_or_else(|| percent_up(replicas, 25));
    let unavailable = int_or_percent(max_unavailable, replicas, false).unwrap_or(replicas / 4).min(replicas);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn int_or_percent(value: &Value, of: i32, up: bool) -> Option<i32> {
    if let Some(number) = value.as_i64() {
        return i32::try_from(number.max(0)).ok();
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.trim().parse().ok()?;
    let exact = i128::from(of) * i128::from(percent.max(0));
    i32::try_from(if up { (exact + 99) / 100 } else { exact / 100 }).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_resolved_as_the_deployment_controller_does() {
        assert_eq!(limits(4, &json!("25%"), &json!("25%")), (1, 1));
        assert_eq!(limits(10, &json!("25%"), &json!("25%")), (3, 2));
        assert_eq!(limits(4, &json!(0), &json!(0)), (0, 1));
        assert_eq!(limits(4, &json!(0), &json!("10%")), (0, 1));
        assert_eq!(limits(4, &Value::Null, &Value::Null), (1, 1));
        assert_eq!(limits(2, &json!(1), &json!(5)), (1, 2));
    }

    proptest! {
        #[test]
        fn a_canary_is_never_empty_nor_larger_than_stable(n in 1..20_000i32, w in 1..100i32) {
            let c = canary_replicas(n, w);
            prop_assert!((1..=n).contains(&c));
        }

        #[test]
        fn a_larger_weight_never_makes_a_smaller_canary(n in 0..2_000i32, w in 1..99i32) {
            prop_assert!(canary_replicas(n, w) <= canary_replicas(n, w + 1));
        }

        #[test]
        fn up_to_half_the_share_is_as_near_as_pods_allow(n in 1..500i32, w in 1..=50i32) {
            let c = canary_replicas(n, w);
            let error = |c: i32| (f64::from(c) / f64::from(c + n) * 100.0 - f64::from(w)).abs();
            // No neighbour would be nearer by more than rounding of the pod count explains.
            prop_assert!(error(c) <= error((c - 1).max(1)) + 100.0 / f64::from(n));
            prop_assert!(error(c) <= error((c + 1).min(n)) + 100.0 / f64::from(n));
        }
    }
}
