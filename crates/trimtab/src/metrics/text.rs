//! From OpenMetrics text, which is all that prometheus-client writes, to the Prometheus text format 0.0.4, which
//! every scraper reads and which needs no negotiation. The samples are the same; the comments differ.

/// The content type of the result.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rewrites an exposition.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            // In OpenMetrics the comments name the family, in 0.0.4 the samples, which for counters end in `_total`.
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, text)) = help.take() {
                out.extend(["# HELP ", name, suffix, " ", text, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([without_exemplar(line), "\n"]);
        }
    }
    out
}

/// Format 0.0.4 has no exemplars: one would make the whole scrape fail.
fn without_exemplar(sample: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in sample.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return sample.get(..index).unwrap_or(sample).trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_name_the_samples_and_exemplars_go() {
        let open =
            "# HELP a_b Says.\n# TYPE a_b counter\n# UNIT a_b b\na_b_total{x=\"# \\\" #\"} 1 # {id=\"1\"} 1\n# EOF\n";
        let plain = "# HELP a_b_total Says.\n# TYPE a_b_total counter\na_b_total{x=\"# \\\" #\"} 1\n";
        assert_eq!(from_open_metrics(open), plain);
    }
}
