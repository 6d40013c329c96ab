use trimtab_testkit::*;
#[tokio::test]
async fn up() {
    let t = std::time::Instant::now();
    let c = local::up(ClusterOptions { name: "tmpreal".into(), nodes: Nodes::Real, sample_images: false, ..Default::default() }).await.unwrap();
    println!("up {:?} {:?}", t.elapsed(), c.kubeconfig());
}
#[tokio::test]
async fn use_it() {
    let b = image::sample_binary().await.unwrap();
    let f = std::env::temp_dir().join("tk.tar");
    image::oci_archive(&b, &[image::Image::new("trimtab.local/mine:v9").env("VERSION", "v9")], &f).unwrap();
    local::load_image("tmpreal", &f).await.unwrap();
    println!("{:?}", local::list().unwrap());
    let c = Cluster::connect(&local::kubeconfig("tmpreal").unwrap()).unwrap();
    let k = |a: &[&str]| { let o = std::process::Command::new(c.kubectl()).env("KUBECONFIG", c.kubeconfig()).args(a).output().unwrap(); println!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr)); };
    k(&["run", "mine", "--image=trimtab.local/mine:v9", "--image-pull-policy=Never"]);
    k(&["wait", "--for=condition=Ready", "pod/mine", "--timeout=20s"]);
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::default_namespaced(c.client().await.unwrap());
    let ip = pods.get("mine").await.unwrap().status.unwrap().pod_ip.unwrap();
    let l = Load::with(&format!("http://{ip}:8080/"), LoadOptions { keep_alive: true, ..Default::default() }).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    println!("{:?}", l.stop().await);
    k(&["exec", "mine", "--", "/app", "x"]);
    let t = std::time::Instant::now();
    local::down("tmpreal").await.unwrap();
    println!("down {:?} {:?}", t.elapsed(), local::list().unwrap());
}
