//! TBD
use crate::world::Setup;
use serde_json::json;
#[test]
fn scratch1() {
    let mut s = Setup::new(1, json!(1), json!(0), json!([{"setWeight":100}]));
    s.history = 0;
    let mut c = s.stable();
    c.set_image("app:crash");
    println!("---- change");
    c.settle().unwrap();
    println!("{:?} {:?}", crate::world::sizes(&c), c.canaries());
}
#[test]
fn scratch3() {
    let mut s = Setup::new(1, json!(1), json!(0), json!([{"setWeight":50},{"pause": {"duration": "10s"}}]));
    s.history = 0;
    let mut c = s.stable();
    c.set_image("app:2");
    println!("---- change");
    for _ in 0..40 {
        c.advance(1);
        c.round();
        if c.status().unwrap().message.contains("handed") || c.status().unwrap().message.contains("giving") {
            break;
        }
    }
    println!("---- crash");
    c.set_image("app:crash");
    c.settle().unwrap();
    println!("{:?} {:?} {}", crate::world::sizes(&c), c.canaries(), c.image());
}
