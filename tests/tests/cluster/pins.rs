//! Pins in pod templates: the API server makes pods by the same grammar by which decisions read them. What is pinned is the
//! business of `config`.

use anyhow::{Result, ensure};
use trimtab_tests::{App, Shape, with_app};

/// The pod as the API server would make it, with these pins: the names that it reads.
async fn read_with(app: &App, pins: &str) -> Result<Vec<String>> {
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "pins", "annotations": {"trimtab.dev/config": pins}},
        "spec": {
            "containers": [{"name": "c", "image": "trimtab.local/sample:v1", "envFrom": [{"configMapRef": {"name": "web"}}]}],
            "volumes": [{"name": "m", "configMap": {"name": "web"}}, {"name": "s", "secret": {"secretName": "web"}}]
        }
    });
    let made = app.kubectl_with(&["create", "--dry-run=server", "-o=json", "-f", "-"], &pod.to_string()).await?;
    let made: serde_json::Value = serde_json::from_str(&made)?;
    let name = |path: &str| made.pointer(path).and_then(|name| name.as_str()).unwrap_or_default().to_owned();
    Ok([
        "/spec/volumes/0/configMap/name",
        "/spec/volumes/1/secret/secretName",
        "/spec/containers/0/envFrom/0/configMapRef/name",
    ]
    .map(name)
    .to_vec())
}

#[tokio::test]
async fn pods_are_made_by_the_pins_that_decisions_read() {
    with_app("config-pins", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        for (text, pins) in trimtab_crds::pins::CASES {
            let name = |kind: &str| {
                let pin = pins.split(',').find_map(|pin| pin.strip_prefix(&format!("{kind}/web=")));
                pin.map_or_else(|| "web".to_owned(), |pin| format!("web-{pin}"))
            };
            let (map, secret) = (name("cm"), name("secret"));
            let read = read_with(&app, text).await?;
            ensure!(read == [map.clone(), secret, map], "{text:?}: {read:?}");
        }
        Ok(())
    })
    .await;
}
