//! Times and durations in words. No clock is read here.

use jiff::Timestamp;

/// How long something took or is old: `8 s`, `5 min`, `3 h`, `2 d`.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.as_second().saturating_sub(from.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A span as tables have it: `8s`, `5m`, `3h`, `2d`.
pub fn age(from: Option<Timestamp>, to: Timestamp) -> String {
    from.map_or_else(String::new, |from| span(from, to).replace(" min", "m").replace(' ', ""))
}

/// A moment to come and how far it is: `12:00:05Z, in 3 s`.
pub fn ahead(now: Timestamp, at: Timestamp) -> String {
    let clock = at.strftime(if span(now, at).ends_with('d') { "%Y-%m-%d %H:%MZ" } else { "%H:%M:%SZ" });
    if at <= now { format!("{clock}, now") } else { format!("{clock}, in {}", left(now, at)) }
}

/// What is left until a moment, rounded up.
pub fn left(now: Timestamp, at: Timestamp) -> String {
    let millis = at.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
    let up = Timestamp::from_millisecond(now.as_millisecond() + (millis + 999) / 1000 * 1000).unwrap_or(at);
    span(now, up)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn spans_have_one_unit() {
        let check = |seconds, text| assert_eq!(span(at(0), at(seconds)), text);
        check(-5, "0 s");
        check(119, "119 s");
        check(120, "2 min");
        check(7200, "2 h");
        check(172_800, "2 d");
        assert_eq!(age(Some(at(0)), at(300)), "5m");
    }

    #[test]
    fn what_is_ahead_has_its_time() {
        assert_eq!(ahead(at(0), at(5)), "00:00:05Z, in 5 s");
        assert_eq!(ahead(at(5), at(5)), "00:00:05Z, now");
        assert_eq!(ahead(Timestamp::from_millisecond(4500).unwrap(), at(5)), "00:00:05Z, in 1 s");
    }
}
