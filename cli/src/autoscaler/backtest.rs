//! `trimtab autoscaler backtest`: an autoscaler tried on load that was recorded, beside Kubernetes' own if that is asked for.
//! The model is `trimtab-backtest`'s; here measurements are fetched and what came out is told.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_backtest::{Course, Curve, Feed, Score, Setup, as_hpa, interval, read_csv, run as try_on, score, svg};
use trimtab_crds::{AutoscalerSpec, MetricSpec, Milli, Quantity};

use crate::{
    Exit,
    args::Form,
    autoscaler::{
        args::Backtest,
        documents,
        explain::{paragraph, table},
        page,
        prometheus::{self, Range},
        spec::{self, Named},
    },
    paint::{BAD, BOLD, DIM, GOOD, WARN, columns, out, paint, tell},
};

/// Tries an autoscaler on what was measured.
pub async fn run(options: Backtest) -> Result<Exit> {
    let named = spec::of_file(&options.file)?;
    let feed = feed(&options, &named.spec).await?;
    let trial = trial(&named, &feed, &options)?;
    let title = format!("Autoscaler {}", named.name);
    if let Some(file) = &options.svg {
        write(file, &trial.picture(&title))?;
    }
    if let Some(file) = &options.html {
        write(file, &page::html(&title, &trial.head(), &trial.rows(), &trial.told(), &trial.picture(&title)))?;
    }
    out(&match options.output {
        Form::Json => format!("{:#}\n", trial.json()),
        Form::Text => trial.text(columns().unwrap_or(100)),
    });
    Ok(Exit::Done)
}

async fn feed(options: &Backtest, spec: &AutoscalerSpec) -> Result<Feed> {
    if let Some(file) = &options.metrics {
        let (name, text) = documents::read(file)?;
        return read_csv(&text).map_err(|error| anyhow!("{name}: {error}"));
    }
    match (&options.prometheus, options.from, options.to) {
        (Some(address), Some(from), Some(to)) => {
            prometheus::fetch(address, spec, Range { from, to, step: options.step }).await
        }
        _ => bail!("nothing to try it on: give --metrics FILE, or --prometheus URL with --from and --to"),
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    tell(&paint(DIM, format!("written: {}", file.display())));
    Ok(())
}

/// What came out.
struct Trial {
    name: String,
    tolerance: f64,
    setup: Setup,
    /// What was not said of requests, and was assumed.
    assumed: Vec<String>,
    own: (Course, Score),
    hpa: Option<(Course, Score)>,
}

fn trial(named: &Named, feed: &Feed, options: &Backtest) -> Result<Trial> {
    let spec = &named.spec;
    let hpa = options.compare.map(|_| as_hpa(spec));
    let mut setup = Setup {
        pod_start: options.pod_start,
        initial: options.initial,
        requests: options.request.iter().cloned().collect(),
        from: options.from,
        to: options.to,
        ..Setup::default()
    };
    let specs = [Some(spec), hpa.as_ref()];
    let shortest = specs.into_iter().flatten().map(|spec| interval(spec, &setup.options)).min();
    setup.step = shortest.map_or(options.step, |shortest| options.step.min(shortest));
    let up = spec.behavior.as_ref().and_then(|behavior| behavior.scale_up.as_ref());
    let own = up.and_then(|rules| rules.tolerance.as_ref()).and_then(Quantity::float).filter(|own| *own >= 0.0);
    let tolerance = own.unwrap_or(setup.options.tolerance);
    let tried = |spec: &AutoscalerSpec| -> Result<(Course, Score)> {
        let course = try_on(spec, feed, &setup).map_err(|error| anyhow!("{error}"))?;
        let score = score(&course, tolerance);
        Ok((course, score))
    };
    let own = tried(spec)?;
    let hpa = hpa.as_ref().map(tried).transpose()?;
    Ok(Trial { name: named.name.clone(), tolerance, assumed: assumed(spec, &setup), own, hpa, setup })
}

/// The resources of which a share is the target, and that no request was given for.
fn assumed(spec: &AutoscalerSpec, setup: &Setup) -> Vec<String> {
    let default = [MetricSpec::default_cpu()];
    let metrics = if spec.metrics.is_empty() { default.as_slice() } else { &spec.metrics };
    let resource = |metric: &MetricSpec| {
        let own = metric.resource.as_ref().map(|source| (source.name.clone(), &source.target));
        let named = || metric.container_resource.as_ref().map(|source| (source.name.clone(), &source.target));
        let (name, target) = own.or_else(named)?;
        let wanted = target.average_value.is_none() && !setup.requests.contains_key(&name);
        wanted.then_some(name)
    };
    let mut all: Vec<String> = metrics.iter().filter_map(resource).collect();
    all.sort();
    all.dedup();
    all
}

impl Trial {
    fn curves(&self) -> Vec<Curve<'_>> {
        let own = Curve { name: &self.name, course: &self.own.0 };
        let hpa = self.hpa.as_ref().map(|(course, _)| Curve { name: "HPA", course });
        [Some(own), hpa].into_iter().flatten().collect()
    }

    fn picture(&self, title: &str) -> String {
        svg(title, &self.curves(), self.tolerance)
    }

    fn ends(&self) -> (Timestamp, Timestamp) {
        let ticks = &self.own.0.ticks;
        let at = |tick: Option<&trimtab_backtest::Tick>| tick.map_or(Timestamp::UNIX_EPOCH, |tick| tick.at);
        (at(ticks.first()), at(ticks.last()))
    }

    fn head(&self) -> String {
        let ((from, to), hours) = (self.ends(), self.own.1.hours);
        let long = if hours >= 48.0 { format!("{:.1} days", hours / 24.0) } else { format!("{hours:.1} hours") };
        let minute = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M").to_string();
        format!("{} to {} UTC, {long}, {} decisions", minute(from), minute(to), self.own.0.decisions)
    }

    /// What is measured, of each, and the difference.
    fn rows(&self) -> Vec<[String; 4]> {
        type Of = fn(&Score) -> Option<f64>;
        let rows: [(&str, Of, usize); 9] = [
            ("replica-hours", |s| Some(s.replica_hours), 1),
            ("under-provisioned minutes", |s| Some(s.under_provisioned_minutes), 1),
            ("p95 of load by target", |s| s.p95_load, 2),
            ("changes per hour", |s| Some(s.changes_per_hour), 2),
            ("reversals per hour", |s| Some(s.reversals_per_hour), 2),
            ("largest step, pods", |s| Some(f64::from(s.largest_step)), 0),
            ("fewest pods", |s| Some(f64::from(s.smallest)), 0),
            ("most pods", |s| Some(f64::from(s.largest)), 0),
            ("minutes without a sample", |s| Some(s.unknown_minutes), 1),
        ];
        let told =
            |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
        rows.into_iter()
            .map(|(name, of, digits)| {
                let (own, hpa) = (of(&self.own.1), self.hpa.as_ref().map(|(_, score)| of(score)));
                let difference = match (own, hpa.flatten()) {
                    (Some(own), Some(hpa)) if name == "replica-hours" && own != hpa && hpa > 0.0 => {
                        format!("{:+.1}%", (own / hpa - 1.0) * 100.0)
                    }
                    (Some(own), Some(hpa)) if own != hpa => format!("{:+.digits$}", own - hpa),
                    _ => String::new(),
                };
                // What rounds to nothing is none.
                let says = difference.contains(|c: char| ('1'..='9').contains(&c));
                let difference = if says { difference } else { String::new() };
                let hpa = hpa.map_or(String::new(), |hpa| told(hpa, digits));
                [name.to_owned(), told(own, digits), hpa, difference]
            })
            .collect()
    }

    /// What was assumed, and what is not as it would be.
    fn told(&self) -> Vec<String> {
        let start = format!(
            "a pod serves {:#} after it was asked for; it began with {} pods; short is a pod with more than {:.0}% above its \
             target",
            self.setup.pod_start,
            self.own.0.initial,
            self.tolerance * 100.0
        );
        let given =
            self.setup.requests.iter().map(|(name, milli)| format!("{name}={milli}")).collect::<Vec<_>>().join(", ");
        let given = (!given.is_empty()).then(|| format!("each pod requests {given}"));
        let assumed = self.assumed.iter().map(|name| {
            let one = if name == "cpu" { "1000m".to_owned() } else { Milli(1000).to_string() };
            format!(
                "each pod is taken to request {name}={one}: say what it does request with --request {name}=QUANTITY"
            )
        });
        [Some(start), given].into_iter().flatten().chain(assumed).chain(self.own.0.notes.iter().cloned()).collect()
    }

    fn json(&self) -> Value {
        let (from, to) = self.ends();
        let mut all = json!({
            "name": self.name, "from": from, "to": to, "decisions": self.own.0.decisions,
            "stepSeconds": self.own.0.step.as_secs_f64(), "podStartSeconds": self.setup.pod_start.as_secs_f64(),
            "initial": self.own.0.initial, "tolerance": self.tolerance, "requests": self.setup.requests,
            "notes": self.told(), "own": self.own.1,
        });
        if let Some((_, score)) = &self.hpa {
            all["hpa"] = json!(score);
        }
        all
    }

    fn text(&self, columns: usize) -> String {
        let mut lines = vec![format!("Autoscaler {} · {}\n\n", paint(BOLD, &self.name), paint(DIM, self.head()))];
        let both = self.hpa.is_some();
        let colour = |name: &str, text: &str| match (name, text.chars().next()) {
            ("replica-hours" | "under-provisioned minutes", Some('-')) => paint(GOOD, text),
            ("under-provisioned minutes", Some('+')) => paint(BAD, text),
            ("replica-hours", Some('+')) => paint(WARN, text),
            _ => paint(DIM, text),
        };
        let row = |[name, own, hpa, difference]: [String; 4]| {
            let own = format!("{own:>10}");
            if !both {
                return vec![name, own];
            }
            let coloured = colour(&name, &difference);
            vec![name, own, format!("{hpa:>10}"), coloured]
        };
        let rows = self.rows().into_iter().map(row).collect();
        let own = format!("{:>10}", self.name.to_uppercase());
        let headings = ["", own.as_str(), "       HPA", "DIFFERENCE"];
        lines.push(table(if both { &headings } else { &headings[..2] }, rows, columns));
        lines.push("\n".to_owned());
        lines.extend(self.told().iter().flat_map(|note| paragraph("note", note, columns)));
        lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Args, Verb},
        autoscaler::args::Autoscaler,
        paint::plain,
    };

    fn options(line: &str) -> Backtest {
        let line = format!("trimtab autoscaler backtest -f a.yaml --metrics m.csv {line}");
        match Args::try_parse_from(line.split_whitespace()).unwrap().verb {
            Verb::Autoscaler(Autoscaler::Backtest(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    fn tried(line: &str) -> Trial {
        let spec = json!({"targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 20,
            "schedules": [{"name": "noon", "start": "0 12 * * *", "duration": "1h", "timeZone": "UTC", "minReplicas": 8}]});
        let named = Named { name: "web".to_owned(), spec: serde_json::from_value(spec).unwrap() };
        // A cosine would do; a step is easier to follow: 2.4 cores, at noon 6.4, which are 3 and 8 pods at 80 %.
        let row = |n: i64| {
            let at: Timestamp =
                "2026-03-02T11:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(n * 15);
            format!("{at},{}\n", if (241..480).contains(&n) { 6.4 } else { 2.4 })
        };
        let csv: String = std::iter::once("time,cpu\n".to_owned()).chain((0..720).map(row)).collect();
        trial(&named, &read_csv(&csv).unwrap(), &options(line)).unwrap()
    }

    #[test]
    fn an_autoscaler_and_the_hpa_stand_side_by_side() {
        let text = plain(&tried("--compare hpa").text(100));
        assert_eq!(
            text,
            "Autoscaler web · 2026-03-02 11:00 to 2026-03-02 13:59 UTC, 3.0 hours, 720 decisions\n\
             \n\
             \x20                                    WEB          HPA   DIFFERENCE\n\
             \x20 replica-hours                     14.4         14.4   +0.2%\n\
             \x20 under-provisioned minutes          0.2          0.8   -0.5\n\
             \x20 p95 of load by target             1.00         1.00   \n\
             \x20 changes per hour                  0.67         1.00   -0.33\n\
             \x20 reversals per hour                0.33         0.33   \n\
             \x20 largest step, pods                   5            5   \n\
             \x20 fewest pods                          3            3   \n\
             \x20 most pods                            8            8   \n\
             \x20 minutes without a sample           0.0          0.0   \n\
             \n\
             \x20 note      a pod serves 30s after it was asked for; it began with 3 pods; short is a pod with more\n\
             \x20           than 10% above its target\n\
             \x20 note      each pod is taken to request cpu=1000m: say what it does request with --request\n\
             \x20           cpu=QUANTITY\n"
        );
    }

    #[test]
    fn programs_are_told_the_same() {
        let told = tried("--compare hpa --request cpu=500m --initial 5").json();
        assert_eq!((&told["initial"], &told["requests"]), (&json!(5), &json!({"cpu": "500m"})));
        assert_eq!(told["own"]["hours"], json!(3.0));
        assert!(told["hpa"]["replicaHours"].is_f64());
        assert!(tried("").json().get("hpa").is_none());
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let trial = tried("--compare hpa");
        let page = page::html("web", &trial.head(), &trial.rows(), &trial.told(), &trial.picture("web"));
        assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && page.contains("replica-hours"));
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http") && !elsewhere.contains("<script"));
    }
}
