//! The command line on a real cluster: what it prints, what it asks of a plan, and how it ends.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use trimtab_crds::Phase;
use trimtab_testkit::KUBECONFIG_ENV;
use trimtab_tests::{App, Configured, Ended, Shape, binary, with_app};

fn waiting() -> Shape {
    Shape { steps: "[{setWeight: 20}, {pause: {}}, {setWeight: 50}, {pause: {}}]", ..Shape::default() }
}

async fn run(program: &std::path::Path, arguments: &[&str]) -> Result<Ended> {
    let kubeconfig = std::env::var_os(KUBECONFIG_ENV).context("there is no cluster")?;
    Ended::of(program, kubeconfig.as_ref(), arguments).await
}

/// Runs `trimtab` in the application's namespace, and holds it to an exit code and to words that it prints.
async fn check(app: &App, line: &str, code: i32, out: &[&str], err: &[&str]) -> Result<Ended> {
    let arguments: Vec<&str> = line.split_whitespace().chain(["-n", app.namespace()]).collect();
    let ended = run(&binary("trimtab")?, &arguments).await?;
    let told = format!("trimtab {line}: exit {}\n--- out\n{}\n--- err\n{}", ended.code, ended.out, ended.err);
    ensure!(ended.code == code, "exit {code} was expected of {told}");
    for word in out {
        ensure!(ended.out.contains(word), "{word:?} was expected on standard output of {told}");
    }
    for word in err {
        ensure!(ended.err.contains(word), "{word:?} was expected on standard error of {told}");
    }
    ensure!(!ended.out.contains('\u{1b}'), "colour where there is no terminal: {told}");
    Ok(ended)
}

async fn wait_step(app: &App, step: &str) -> Result<()> {
    app.wait_plan(&format!("step {step}"), |plan| {
        plan.status.as_ref().is_some_and(|s| s.step.as_deref() == Some(step) && s.phase == Phase::Paused)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_release_is_seen_and_steered() {
    with_app("cli", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        check(&app, "get", 0, &["NAME", "web", "Stable"], &[]).await?;
        check(&app, "promote web", 1, &[], &["no release is under way"]).await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        let images = "trimtab.local/sample:v1 → trimtab.local/sample:v2";
        let can = ["waiting for a person", images, "promote --full web", "abort web", "1 of 1 available"];
        check(&app, "why web", 0, &can, &[]).await?;
        check(&app, "why deployment/web", 0, &["web Paused"], &[]).await?;
        check(&app, "plan web", 0, &["4 stable + 4 canary", "at most 8 pods"], &[]).await?;
        check(&app, "watch web --timeout 1s", 4, &["step 2/4"], &["not over after"]).await?;
        let json: Value = serde_json::from_str(&check(&app, "why web -o json", 0, &[], &[]).await?.out)?;
        ensure!(json.pointer("/decided/status/phase") == Some(&"Paused".into()), "{json:#}");
        ensure!(json.pointer("/seen/deployment/metadata/name") == Some(&"web".into()), "{json:#}");

        check(&app, "pause web", 0, &["Paused"], &[]).await?;
        check(&app, "resume web", 0, &["web:"], &[]).await?;
        check(&app, "promote web", 0, &["web:"], &[]).await?;
        wait_step(&app, "4/4").await?;
        check(&app, "abort web", 0, &["aborted by request"], &[]).await?;
        check(&app, "watch web --timeout 60s", 3, &["aborted by request"], &[]).await?;
        check(&app, "why web", 0, &["retry web", "undo web", "TakenBack"], &[]).await?;
        check(&app, "undo web", 0, &["web:"], &[]).await?;
        check(&app, "watch web --timeout 60s", 0, &["web is ready"], &[]).await?;

        app.set_image("v3").await?;
        wait_step(&app, "2/4").await?;
        check(&app, "promote --full web", 0, &["web:"], &[]).await?;
        check(&app, "watch web --timeout 60s", 0, &["trimtab.local/sample:v3"], &[]).await?;
        check(&app, "restart web --wait=false", 0, &["asked web: restart:"], &[]).await?;
        wait_step(&app, "2/4").await?;
        Ok(())
    })
    .await;
}

/// What `trimtab why` would write into the plan's status is what the manager has written.
async fn check_decided(app: &App) -> Result<()> {
    let json: Value = serde_json::from_str(&check(app, "why web -o json", 0, &[], &[]).await?.out)?;
    let (plan, pointed) = (app.plan().await?, |path: &str| json.pointer(path).cloned().unwrap_or_default());
    let status = serde_json::to_value(plan.status.context("no status")?)?;
    let because = pointed("/decided/because");
    for field in ["phase", "message", "step", "release", "config"] {
        let (written, decided) = (&status[field], pointed(&format!("/decided/status/{field}")));
        ensure!(*written == decided, "{field} is {written:#}, and why would write {decided:#}: {because:#}");
    }
    Ok(())
}

#[tokio::test]
async fn why_decides_as_the_manager_does() {
    with_app("why", waiting(), |app| async move {
        let configured = Configured::new(&app, "a").await?;
        let _manager = app.manager()?;
        app.apply(&app.plan_yaml().replace("  strategy:", "  config: {adopt: Now}\n  strategy:")).await?;
        wait_step(&app, "2/4").await?;
        check_decided(&app).await?;
        app.request("promote-full").await?;
        app.wait_phase(Phase::Stable).await?;
        check_decided(&app).await?;
        app.apply(
            "apiVersion: trimtab.dev/v1alpha1\nkind: ConfigPolicy\nmetadata: {name: strict}\nspec:\n  selector: {names: [web]}\n  \
             rules: [{name: short, keys: [app.conf], cel: \"size(text) < 4\", message: keep it short}]\n",
        )
        .await?;
        configured.set("far too long").await?;
        app.wait_reason("ConfigRefused").await?;
        check_decided(&app).await?;
        let out = ["keep it short", "rule short of ConfigPolicy strict"];
        check(&app, "plan web", 0, &out, &[]).await?;
        configured.set("b").await?;
        wait_step(&app, "2/4").await?;
        check_decided(&app).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn without_a_manager_it_says_so() {
    with_app("cli-alone", Shape::default(), |app| async move {
        check(&app, "get web", 0, &["is trimtab-manager running?"], &[]).await?;
        check(&app, "why web", 0, &["no manager has written", "guard the Deployment"], &[]).await?;
        check(&app, "plan web", 0, &["patch", "guard the Deployment"], &[]).await?;
        check(&app, "pause web --timeout 300ms", 4, &[], &["is trimtab-manager running?"]).await?;
        check(&app, "get -o name", 0, &["releaseplan.trimtab.dev/web"], &[]).await?;
        check(&app, "get web -o yaml", 0, &["kind: ReleasePlan"], &[]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn mistakes_are_answered_with_what_to_do() {
    with_app("cli-wrong", Shape::default(), |app| async move {
        let there = "plans in namespace";
        check(&app, "why wbe", 1, &[], &["no ReleasePlan wbe", "did you mean web?", there]).await?;
        check(&app, "why deployment/api", 1, &[], &["no ReleasePlan in namespace", there]).await?;
        check(&app, "promote Web", 2, &[], &["lower-case letters"]).await?;
        check(&app, "watch web --timeout soon", 2, &[], &["90s"]).await?;
        check(&app, "get web --context nobody", 1, &[], &["nobody"]).await?;
        check(&app, "get web --kubeconfig /nowhere", 1, &[], &["/nowhere"]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn it_is_a_plugin_of_kubectl() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("trimtab-plugin-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let plugin = folder.join("kubectl-trimtab");
    std::os::unix::fs::symlink(binary("trimtab")?, &plugin)?;
    let ended = run(&plugin, &["promote", "--help"]).await;
    std::fs::remove_dir_all(&folder)?;
    let ended = ended?;
    ensure!(ended.code == 0 && ended.out.contains("kubectl trimtab promote"), "{}", ended.out);
    Ok(())
}

#[tokio::test]
async fn revisions_of_configuration_are_shown_compared_and_gone_back_to() {
    let shape = Shape { with_plan: false, steps: "[]", ..Shape::default() };
    with_app("cli-config", shape, |app| async move {
        let configured = Configured::new(&app, "one").await?;
        check(&app, "config history cm/web", 0, &["live"], &["nothing of cm/web is kept yet"]).await?;
        check(&app, "config history cm/none", 1, &[], &["there is no cm/none in namespace"]).await?;
        let _manager = app.manager()?;
        app.apply(&app.plan_yaml().replace("  strategy:", "  config: {adopt: Now}\n  strategy:")).await?;
        configured.wait_counts(&[("one", 4)]).await?;
        let stable = |plan: &trimtab_crds::ReleasePlan| {
            plan.status.as_ref().is_some_and(|s| s.phase == Phase::Stable && s.release.is_none() && s.sequence > 0)
        };
        app.wait_plan("the first copies", stable).await?;
        configured.set("two").await?;
        configured.wait_counts(&[("two", 4)]).await?;
        app.wait_plan("the second release", |plan| {
            stable(plan) && plan.status.as_ref().is_some_and(|s| s.sequence > 1)
        })
        .await?;
        check(&app, "config history cm/web", 0, &["REVISION", "kubectl-client-side-apply", "web 4×"], &[]).await?;
        check(&app, "config diff cm/web", 0, &["-one", "+two", "@@ blob changed @@", "bytes that are no text"], &[])
            .await?;
        check(&app, "config show cm/web 1", 0, &["app.conf: one"], &[]).await?;
        check(&app, "config show cm/web 9", 1, &[], &["has no revision \"9\"", "kept are 1 ("]).await?;
        let secret = check(&app, "config show secret/db", 0, &["password", "3 bytes"], &[]).await?;
        ensure!(!secret.out.contains("one"), "a Secret's value was printed: {}", secret.out);
        check(&app, "config who-uses cm/web", 0, &["deployment/web", "app.conf, blob"], &[]).await?;
        check(&app, "config rollback cm/web", 0, &["is pinned to revision 1"], &["the live object is ahead"]).await?;
        configured.wait_counts(&[("one", 4)]).await?;
        configured.set("three").await?;
        // It stays until it is unpinned.
        app.wait_plan("the note of the pin", |plan| {
            let sources = plan.status.iter().filter_map(|s| s.config.as_ref()).flat_map(|config| &config.sources);
            sources.into_iter().any(|s| s.note.as_deref().is_some_and(|note| note.contains("pinned by a person")))
        })
        .await?;
        configured.wait_counts(&[("one", 4)]).await?;
        check(&app, "config unpin cm/web", 0, &["follows the live object again"], &[]).await?;
        configured.wait_counts(&[("three", 4)]).await?;
        check(&app, "config pin cm/web 2 --plan web", 0, &["is pinned to revision 2"], &[]).await?;
        configured.wait_counts(&[("two", 4)]).await?;
        check(&app, "config unpin cm/web --plan other", 0, &[], &["is pinned by no plan"]).await?;
        Ok(())
    })
    .await;
}
