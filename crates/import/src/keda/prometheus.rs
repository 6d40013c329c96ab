//! A prometheus trigger as a metric. Its query and threshold are carried over; how it proves who it is, is not.

use serde_json::json;

use super::trigger::Measured;
use crate::autoscaler::quantity;
use crate::fields::Fields;
use crate::metric;
use crate::remarks::Remarks;

/// What to do about credentials.
pub(super) const AUTHENTICATION: &str = "the server is asked without credentials: give the address of one that the manager may \
     ask, for example a proxy in the cluster that adds them";

/// The longest name of a metric.
const NAME: usize = 63;

pub(super) fn read(
    index: usize,
    name: Option<&str>,
    metric_type: Option<String>,
    mut metadata: Fields<'_>,
    remarks: &mut Remarks,
) -> Option<Measured> {
    let address = address(&mut metadata, remarks);
    let query = required(&mut metadata, "query", remarks);
    let threshold = threshold(&mut metadata, remarks);
    let activation = activation(&mut metadata, remarks);
    let old_name = metadata.text("metricName");
    if metadata.flag("ignoreNullValues") != Some(false) {
        remarks.note(
            metadata.path("ignoreNullValues"),
            "KEDA takes an empty answer for 0; here it is unknown, and the size stays as it is: where empty means none, write \
             the query as sum(...) or vector(0)",
        );
    }
    for field in ["authModes", "awsRegion", "identityOwner"] {
        if metadata.text(field).is_some() {
            remarks.lost(metadata.path(field), AUTHENTICATION);
        }
    }
    for field in ["customHeaders", "namespace", "queryParameters", "cortexOrgID"] {
        if metadata.text(field).is_some() {
            let why = "nothing is added to the request here: give the address of a server or proxy that needs no more";
            remarks.lost(metadata.path(field), why);
        }
    }
    if metadata.flag("unsafeSsl") == Some(true) {
        remarks.lost(
            metadata.path("unsafeSsl"),
            "certificates are always checked: use http inside of the cluster, or a \
             certificate that the manager trusts",
        );
    }
    let field = match metric_type.as_deref() {
        None | Some("AverageValue") => Some("averageValue"),
        Some("Value") => Some("value"),
        Some(_) => {
            remarks.lost(
                metadata.path("metricType"),
                "a prometheus trigger has AverageValue or Value: the metric is left out",
            );
            None
        }
    };
    let path = metadata.path("threshold");
    metadata.rest(remarks, "a Prometheus metric has no such field");
    let name = name.map(str::to_owned).or(old_name).unwrap_or_else(|| format!("prometheus-{index}"));
    let name: String = name.chars().take(NAME).collect();
    let mut target = json!({"type": if field? == "value" { "Value" } else { "AverageValue" }});
    target[field?] = json!(threshold?);
    let written = json!({"type": "Prometheus",
        "prometheus": {"name": name, "address": address?, "query": query?, "target": target}});
    Some(Measured { name: None, item: metric::metric(&written, &path, remarks)?, activation })
}

fn required(metadata: &mut Fields<'_>, field: &'static str, remarks: &mut Remarks) -> Option<String> {
    let value = metadata.text(field);
    if value.is_none() {
        remarks.lost(metadata.path(field), "it is missing: the metric is left out");
    }
    value
}

/// The server's address, without a password that may be in it.
fn address(metadata: &mut Fields<'_>, remarks: &mut Remarks) -> Option<String> {
    let address = required(metadata, "serverAddress", remarks)?;
    let path = metadata.path("serverAddress");
    let whole = match address.contains("://") {
        true => address,
        false => format!("http://{address}"),
    };
    let (scheme, rest) = whole.split_once("://")?;
    if !["http", "https"].contains(&scheme) {
        remarks.lost(path, "it is not an address that begins with http:// or https://: the metric is left out");
        return None;
    }
    let (host, way) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let way = way.split(['?', '#']).next().unwrap_or_default();
    let plain = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if plain.len() != host.len() || rest.len() != host.len() + way.len() {
        remarks.lost(path, format!("user, password and query are left out of the address: {AUTHENTICATION}"));
    }
    Some(format!("{scheme}://{plain}{}", way.trim_end_matches('/')))
}

fn threshold(metadata: &mut Fields<'_>, remarks: &mut Remarks) -> Option<String> {
    let text = required(metadata, "threshold", remarks)?;
    let number = quantity(&text);
    if number.is_none() {
        remarks.lost(metadata.path("threshold"), "it is not a number: the metric is left out");
    }
    number.map(|number| number.0)
}

fn activation(metadata: &mut Fields<'_>, remarks: &mut Remarks) -> Option<String> {
    let text = metadata.text("activationThreshold")?;
    let number = quantity(&text);
    if number.is_none() {
        remarks.lost(metadata.path("activationThreshold"), "it is not a number: 0 counts");
    }
    number.map(|number| number.0)
}
