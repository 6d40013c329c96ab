//! A process that counts up in a ConfigMap while it leads: what the lease tests start, stop and continue. It is not a
//! controller, and its writes have no precondition on purpose: nothing but the fence keeps two from writing.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Config;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use trimtab::client;
use trimtab::lease::{Election, Options, State};
use trimtab::metrics::Metrics;
use trimtab::shutdown;

const PAUSE: Duration = Duration::from_millis(50);

/// How long a leader that lost its lease keeps trying to write.
const LAST_TRIES: Duration = Duration::from_secs(1);

/// The exit code of a leader that lost its lease.
const LOST: u8 = 3;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let mut arg = |name: &'static str| args.next().context(name);
    let namespace = arg("the namespace")?;
    let config = Config::infer().await?;
    let options = Options {
        connection: Some(config.clone()),
        identity: arg("the identity")?,
        lease_duration: Duration::from_millis(arg("the lease duration in ms")?.parse()?),
        renew_deadline: Duration::from_millis(arg("the renew deadline in ms")?.parse()?),
        retry_period: Duration::from_millis(arg("the retry period in ms")?.parse()?),
        ..Options::new(namespace.as_str(), "leader")
    };
    let client = client(config)?;
    let counters: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let signalled = shutdown::signalled()?;
    let identity = options.identity.clone();
    let election = Election::run(client, options, Metrics::new())?;
    let code = tokio::select! {
        () = lost(&election) => {
            // Goes on trying: the fence has to stop it, not its end.
            _ = tokio::time::timeout(LAST_TRIES, count(&election, &counters, &identity)).await;
            ExitCode::from(LOST)
        }
        _ = signalled => ExitCode::SUCCESS,
        result = count(&election, &counters, &identity) => result.map(|()| ExitCode::FAILURE)?,
    };
    election.release().await;
    Ok(code)
}

/// Tells the turns of the election until the lease is lost.
async fn lost(election: &Election) {
    let mut state = election.state();
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            State::Following { holder } => println!("follows {}", holder.as_deref().unwrap_or("nobody")),
            State::Leading => println!("leads"),
            State::Lost | State::Released => return,
        }
        // An election that is gone is lost as well.
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Counts for ever, as fast as the fence allows.
async fn count(election: &Election, counters: &Api<ConfigMap>, identity: &str) -> Result<()> {
    let fence = election.fence();
    let mut tick = tokio::time::interval(PAUSE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut written = 0_u64;
    loop {
        tick.tick().await;
        let Ok(left) = fence.check() else { continue };
        let patch = Patch::Merge(json!({ "data": { identity: (written + 1).to_string() } }));
        match tokio::time::timeout(left, counters.patch("counter", &PatchParams::default(), &patch)).await {
            Ok(Ok(_)) => {
                written += 1;
                println!("wrote {written}");
            }
            Ok(Err(error)) => println!("failed {error}"),
            Err(_) => println!("failed in time"),
        }
    }
}
