//! A token that expires, and the next one.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use kube::config::Kubeconfig;
use serde_json::json;
use trimtab_tests::{App, ManagerProcess, with_app};

use super::{check_end, mid_release, not_ready, ready, shape};

/// A kubeconfig with a token in a file, as a pod has it; both files go with the value.
struct TokenFile {
    kubeconfig: PathBuf,
    token: PathBuf,
}

impl TokenFile {
    async fn of_manager(app: &App) -> Result<Self> {
        let place = |what: &str| std::env::temp_dir().join(format!("{}-midair.{what}", app.namespace()));
        let files = Self { kubeconfig: place("kubeconfig"), token: place("token") };
        app.kubectl(&["create", "serviceaccount", "manager"]).await?;
        let account = format!("--serviceaccount={}:manager", app.namespace());
        app.kubectl(&["create", "rolebinding", "manager", "--clusterrole=cluster-admin", &account]).await?;
        files.replace(app, "first").await?;
        let mut config = Kubeconfig::read_from(app.kubeconfig())?;
        for user in &mut config.auth_infos {
            user.auth_info = Some(serde_json::from_value(json!({ "tokenFile": files.token }))?);
        }
        // JSON is YAML.
        std::fs::write(&files.kubeconfig, serde_json::to_string(&config)?)?;
        Ok(files)
    }

    /// Writes a token that lives as long as a Secret of this name.
    async fn replace(&self, app: &App, secret: &str) -> Result<()> {
        app.kubectl(&["create", "secret", "generic", secret]).await?;
        let bound =
            ["create", "token", "manager", "--bound-object-kind=Secret", &format!("--bound-object-name={secret}")]
                .map(str::to_owned);
        let token = app.kubectl(&bound.each_ref().map(String::as_str)).await?;
        std::fs::write(&self.token, token.trim()).context("the token cannot be written")
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        for file in [&self.kubeconfig, &self.token] {
            _ = std::fs::remove_file(file);
        }
    }
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_named_and_the_next_one_is_taken_at_once() {
    with_app("token", shape("15s"), |app| async move {
        let files = TokenFile::of_manager(&app).await?;
        let namespace = format!("--lease-namespace={}", app.namespace());
        let manager = ManagerProcess::start(&files.kubeconfig, app.namespace(), None, &[&namespace])?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        mid_release(&app).await?;
        app.kubectl(&["delete", "secret", "first"]).await?;
        let said = not_ready(&manager, "does not accept this process's credentials (401)").await?;
        println!("{}", said.lines().find(|line| line.contains("api-server")).unwrap_or("-"));
        files.replace(&app, "second").await?;
        let replaced = Instant::now();
        check_end(&app, &watch).await?;
        println!("stable {:?} after the token was replaced", replaced.elapsed());
        ready(&manager).await
    })
    .await;
}
