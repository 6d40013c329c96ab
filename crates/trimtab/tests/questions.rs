//! Questions that a controller answers itself: what comes of them, and what must not be seen of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod stub;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use stub::{Asked, Reply, Widget, added, end_of_list, lines, refusal, serve, widget};
use trimtab::{Answerer, Controller, ControllerOptions, Manager, ManagerOptions, Permission, Reader, Selector, Store};
use trimtab::{Watched, Watches};
use trimtab_plan::{Answer, Answers, Ask, ObjectRef, Outcome, Plan, Question, StatusWrite};

/// Asks a question of its own, named as the widget is, and says what came of it.
struct Asker {
    widgets: Store<Widget>,
}

#[derive(Serialize)]
struct Seen {
    name: String,
    answers: Answers,
}

impl Controller for Asker {
    const NAME: &'static str = "asker";
    type Key = ObjectRef;
    type Snapshot = Seen;
    type Status = ();

    fn permissions(&self) -> Vec<Permission> {
        vec![]
    }

    fn gather(&self, key: &ObjectRef, answers: &Answers) -> Option<Seen> {
        self.widgets.get("n", &key.name).map(|_| Seen { name: key.name.clone(), answers: answers.clone() })
    }

    fn decide(_: Timestamp, seen: &Seen) -> Plan<()> {
        let mut plan = Plan::new(());
        let name = ["counts", "panics", "hangs"].into_iter().find(|name| *name == seen.name).unwrap_or("other");
        let question = Question::Custom { name, input: json!({"name": seen.name}), about: None };
        plan.asks.push(Ask { id: "q".to_owned(), question, timeout_seconds: 1 });
        match seen.answers.get("q") {
            None => plan.because("Asking", "not known yet"),
            Some(Answer::Object(answer)) => plan.because("Answered", answer.to_string()),
            Some(Answer::NotFound) => plan.because("Answered", "nothing"),
            Some(Answer::Failed(why)) => plan.because("Answered", why.clone()),
        }
        plan
    }

    fn conclude(_: Timestamp, _: &Seen, _: &Plan<()>, _: &Outcome) -> Option<StatusWrite> {
        None
    }
}

/// Reads the widget and tells one thing of it.
async fn answer(reader: Reader, name: &'static str, input: Value) -> Answer {
    match name {
        "counts" => match reader.get(&Widget::KIND.object("n", input["name"].as_str().unwrap())).await {
            Answer::Object(whole) => Answer::Object(json!({"letters": whole["size"].as_str().unwrap().len()})),
            other => other,
        },
        "panics" => panic!("hunter2"),
        "hangs" => std::future::pending().await,
        other => Answer::Failed(format!("no such question: {other}")),
    }
}

#[tokio::test]
async fn a_custom_question_is_answered_and_wakes_its_key() {
    let first: Vec<String> = ["counts", "panics", "hangs", "unknown"]
        .iter()
        .enumerate()
        .map(|(n, name)| added(name, n as u64 + 1, 1))
        .chain([end_of_list(9)])
        .collect();
    let client = serve(move |asked: &Asked| match asked.method.as_str() {
        "GET" if asked.is_list() => lines(&first).1,
        "GET" => Reply::Json(200, widget("counts", 1, "hunter2")),
        _ => Reply::Json(201, json!({})),
    })
    .await;
    let mut manager = Manager::new(client, ManagerOptions::default());
    let options = ControllerOptions { answerer: Some(Answerer::new(answer)), ..ControllerOptions::default() };
    manager.controller(options, |w: &mut Watches<ObjectRef>| {
        let wakes = |widget: &Widget| vec![widget.meta().object(Widget::KIND)];
        Asker { widgets: w.watch::<Widget>(Selector::all()).wakes(wakes).store() }
    });
    let (journal, metrics) = (manager.journal(), manager.metrics());
    let task = tokio::spawn(manager.run(std::future::pending::<()>()));
    for (name, expected) in [
        ("counts", "Answered: {\"letters\":7}"),
        ("panics", "Answered: the answerer panicked"),
        ("hangs", "Answered: no answer within 1 s"),
        ("unknown", "Answered: no such question: other"),
    ] {
        let (began, mut why) = (Instant::now(), String::new());
        while !why.contains(expected) {
            assert!(began.elapsed() < Duration::from_secs(10), "{name}: {why}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            why = journal.why("widget", "n", name).map(|why| why.text(Timestamp::now())).unwrap_or_default();
        }
        assert!(!why.contains("hunter2"), "{why}");
    }
    let counted = metrics.render();
    assert!(
        counted.lines().any(|line| line.starts_with("rest_client_requests_total{") && line.contains("GET")),
        "{counted}"
    );
    task.abort();
}

#[tokio::test]
async fn what_the_server_has_forgotten_is_told_from_what_it_did_not_tell() {
    let error = |code: u16| format!("{}\n", json!({ "type": "ERROR", "object": refusal(code, "Reason", "why not") }));
    let check = async |reply: fn(String) -> Reply, line: String, expected: Result<usize, Option<&str>>| {
        let client = serve(move |_: &Asked| reply(line.clone())).await;
        let answer = Reader::new(client, trimtab::metrics::Metrics::default()).events("/api/v1/pods?watch=true").await;
        match (&answer, expected) {
            (Answer::Object(events), Ok(count)) => assert_eq!(events.as_array().unwrap().len(), count),
            (Answer::NotFound, Err(None)) => {}
            (Answer::Failed(why), Err(Some(text))) => assert!(why.contains(text), "{why}"),
            _ => panic!("{answer:?}"),
        }
    };
    let stream: fn(String) -> Reply = |line| lines(&[line]).1;
    let refused: fn(String) -> Reply = |code| {
        let code = code.parse().unwrap();
        Reply::Json(code, refusal(code, "Reason", "why not"))
    };
    check(stream, added("a", 1, 1), Ok(1)).await;
    check(stream, error(410), Err(None)).await;
    check(refused, "410".to_owned(), Err(None)).await;
    check(stream, error(500), Err(Some("why not"))).await;
    check(refused, "503".to_owned(), Err(Some("503"))).await;
    check(stream, "{\n".to_owned(), Err(Some("no list of events"))).await;
}
