//! `build-parts auto|simulated|real [tests]`: builds the programs of a local cluster that are not there yet; with `tests` also what only
//! tests start. `auto` is what real nodes need where they are possible, which only root on Linux can have.

use std::process::{Command, ExitCode};

use trimtab_parts::{Part, source};

const USAGE: &str = "usage: build-parts auto|simulated|real [tests]";
/// What runs beside some of the tests' clusters, and what tries the chart.
const OF_TESTS: [Part; 5] =
    [source::METRICS_SERVER, source::PROMETHEUS, source::HELM_3, source::HELM_4, source::PROMTOOL];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (nodes, tests) = match words[..] {
        [nodes] => (nodes, false),
        [nodes, "tests"] => (nodes, true),
        _ => ("", false),
    };
    let real = match nodes {
        "simulated" => false,
        "real" => true,
        "auto" => root(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut parts = if real { source::REAL } else { source::SIMULATED }.to_vec();
    if tests {
        // Some tests have a cluster with simulated nodes, whatever the others have.
        parts.extend(source::SIMULATED.iter().filter(|part| !source::REAL.contains(part) && real));
        parts.extend(OF_TESTS);
    }
    match trimtab_parts::ensure(&parts) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> bool {
    let asked = Command::new("id").arg("-u").output();
    cfg!(target_os = "linux") && asked.is_ok_and(|answer| answer.stdout.trim_ascii() == b"0")
}
