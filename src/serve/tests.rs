//! What is served is what was trained: the same state vectors to the bit, and the distribution that is promised.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::*;
use crate::assemble::SessionRules;
use crate::catalog::Catalog;
use crate::checkpoint::RealDisk;
use crate::decode::{Decoder, Mapping};
use crate::live::Sessions;
use crate::pipeline::Intake;
use crate::policy::{Head, Policy, Tensor};
use crate::position::{NextOffset, Offset, Partition};
use crate::publish::{Draft, Publication, StateShape, read, write_to};
use crate::state::{Pooling, StateEncoder};
use crate::time::Span;

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn mapped(config: &str) -> Arc<Decoder> {
    let text = fs::read_to_string(repository(&format!("configs/{config}.toml"))).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let mapping: Mapping = table["mapping"].clone().try_into().unwrap();
    Arc::new(Decoder::new(&mapping).unwrap())
}

fn encoder(decoder: &Decoder, pooling: Pooling) -> Arc<StateEncoder> {
    let context_dimension = decoder.context_dimension();
    Arc::new(StateEncoder { context_dimension, pooling, hashed_dimension: 16, catalog: Arc::new(Catalog::default()) })
}

fn lines(log: &str) -> Vec<String> {
    let file = File::open(repository(&format!("tests/data/{log}.jsonl.gz"))).unwrap();
    BufReader::new(GzDecoder::new(file)).lines().map(Result::unwrap).collect()
}

fn limits(sessions: usize) -> HistoryLimits {
    HistoryLimits { sessions, bytes: 64 << 20 }
}

fn publication(draft: Draft) -> Publication {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("policy");
    write_to(&RealDisk, &out, &draft).unwrap();
    read(&RealDisk, &out).unwrap()
}

/// Logits are the state's first number times 1, 2, 3, .. for the items in turn.
fn linear(items: &[&str], encoder: &StateEncoder) -> Publication {
    let inputs = encoder.dimension();
    let mut weight = vec![0.0; inputs];
    weight[0] = 1.0;
    let tensors = vec![
        Tensor::new("layer.0.weight", vec![inputs, 1], weight),
        Tensor::new("layer.0.bias", vec![1], vec![0.0]),
        Tensor::new("item_vectors", vec![items.len(), 1], (1..=items.len()).map(|number| number as f32).collect()),
    ];
    let policy = Policy::new(inputs, Head::Learned { dimension: 1 }, tensors, None).unwrap();
    publication(Draft::of_nobody(policy, items, encoder))
}

/// The state vectors of each session as training sees them, in the order of its decisions.
fn trained(
    decoder: &Arc<Decoder>,
    encoder: &StateEncoder,
    rules: SessionRules,
    log: &[String],
) -> BTreeMap<String, Vec<Vec<f32>>> {
    // The file is in the order of its sessions, not of time: no decision may count as late. A click on the last step before a
    // cut by length does, and changes no state.
    let rules = SessionRules { lateness: Span::LONGEST, ..rules };
    let mut intake = Intake::new(Partition(0), NextOffset::ZERO, Arc::clone(decoder), rules);
    let mut closed = Vec::new();
    for (number, line) in log.iter().enumerate() {
        let offset = Offset::from_count(number as u64);
        intake.observe(offset, None, Some(line.as_bytes()), &mut |_| {}, &mut closed);
    }
    intake.finish(&mut closed);
    closed.sort_by_key(|trajectory| trajectory.steps[0].time);
    let mut states: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
    for trajectory in &closed {
        let session = trajectory.session.as_deref().unwrap_or_default().to_owned();
        let steps = 0..trajectory.steps.len();
        states.entry(session).or_default().extend(steps.map(|index| encoder.encode(&trajectory.steps, index)));
    }
    states
}

/// The same by asking before every decision, with what happened since the last question.
fn asked(histories: &Histories, recommender: &Recommender, log: &[String]) -> BTreeMap<String, Vec<Vec<f32>>> {
    let mut since: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut states: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
    for line in log {
        let event: Value = serde_json::from_str(line).unwrap();
        let session = event["session_id"].as_str().unwrap().to_owned();
        let events = since.entry(session.clone()).or_default();
        // In one log a click is feedback and says at which step; in the other it is what was shown.
        let is_feedback =
            event["type"] == "session_end" || (event["type"] == "click" && !event["features"]["step"].is_null());
        if !is_feedback {
            let mut decision = event.clone();
            decision.as_object_mut().unwrap().retain(|name, _| name != "item_id" && name != "propensity");
            let question = json!({ "session": session, "events": events, "decision": decision, "top": 2 }).to_string();
            let answer = answer(
                histories,
                recommender,
                &mut Draw::BestFirst,
                Asking::Line { explain: true },
                question.as_bytes(),
            )
            .unwrap();
            assert_eq!(answer.items.len(), 2);
            states.entry(session.clone()).or_default().extend(answer.state);
            events.clear();
        }
        since.entry(session).or_default().push(event);
    }
    states
}

#[test]
fn a_logged_session_played_again_gives_the_very_states_of_training() {
    let rules = SessionRules::default();
    // Two sessions that share a user and are cut by length, gaps, and a history that pools.
    let short = SessionRules { max_steps: 7, ..rules };
    for (config, log, rules, pooling) in [
        ("recsim", "recsim_iev_mix_200", rules, Pooling::None),
        ("recsim", "recsim_iev_mix_200", short, Pooling::Decay { length: 5, decay: 0.8 }),
        ("otto", "otto20", rules, Pooling::Mean { length: 20 }),
    ] {
        let decoder = mapped(config);
        let encoder = encoder(&decoder, pooling);
        let mut log = lines(log);
        log.truncate(6_000);
        let expected = trained(&decoder, &encoder, rules, &log);
        let recommender =
            Recommender::new(linear(&["1", "2", "3"], &encoder), &StateShape::of(&encoder), None).unwrap();
        let histories = Histories::new(decoder, Arc::clone(&encoder), rules, limits(1_000));
        let found = asked(&histories, &recommender, &log);
        let steps: usize = expected.values().map(Vec::len).sum();
        assert!(steps > 500, "{steps} steps");
        for (session, states) in &expected {
            // Not ==: to the bit.
            let bits = |states: &[Vec<f32>]| states.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(states), bits(&found[session]), "{config}, {pooling:?}, session {session}");
        }
    }
}

fn bandit() -> (Arc<Decoder>, Arc<StateEncoder>) {
    let mapping: Mapping = toml::from_str(
        "time = \"/ts\"\nuser = \"/user\"\nsession = \"/session\"\nitem = \"/item\"\ncontext = \"/x\"\ncontext_dimension = 1\ncandidates = \"/candidates\"",
    )
    .unwrap();
    let decoder = Arc::new(Decoder::new(&mapping).unwrap());
    let encoder = encoder(&decoder, Pooling::None);
    (decoder, encoder)
}

const ITEMS: [&str; 4] = ["a", "b", "c", "d"];

fn served(temperature: Option<f64>) -> (Histories, Recommender) {
    let (decoder, encoder) = bandit();
    let recommender = Recommender::new(linear(&ITEMS, &encoder), &StateShape::of(&encoder), temperature).unwrap();
    (Histories::new(decoder, encoder, SessionRules::default(), limits(2)), recommender)
}

/// A live policy over the items a, b, c, d, for the tests of HTTP.
pub(crate) fn live() -> Arc<Live> {
    let (histories, recommender) = served(None);
    let live = Live::new(histories, StateShape::of(&bandit().1), Arc::new(Sessions::new(10)));
    live.swap(recommender);
    Arc::new(live)
}

fn ask(served: &(Histories, Recommender), draw: &mut Draw, question: &Value) -> Result<Answer, String> {
    answer(&served.0, &served.1, draw, Asking::Line { explain: true }, question.to_string().as_bytes())
        .map_err(|error| error.to_string())
}

fn decision(x: f64) -> Value {
    json!({ "ts": 1_700_000_000_000_i64, "user": "u", "x": [x] })
}

#[test]
fn the_live_history_is_that_of_the_events() {
    let (decoder, _) = bandit();
    let encoder = encoder(&decoder, Pooling::Mean { length: 2 });
    let histories = Histories::new(Arc::clone(&decoder), encoder, SessionRules::default(), limits(2));
    let sessions = Sessions::new(10).with_history(2);
    let shown = |item: &str, second: i64| {
        json!({ "ts": 1_700_000_000_000_i64 + 1_000 * second, "user": "u", "item": item, "x": [0.1] }).to_string()
    };
    let (events, question) = (["a", "b", "c"], decision(0.3).to_string());
    let events: Vec<String> = events.iter().zip(-3..).map(|(item, second)| shown(item, second)).collect();
    let fresh = histories.live_situation(&sessions, histories.request(question.as_bytes()).unwrap());
    for (number, event) in events.iter().enumerate() {
        let mut decoded = Vec::new();
        decoder.decode(Offset::from_count(number as u64), None, Some(event.as_bytes()), &mut decoded).unwrap();
        decoded.iter().for_each(|event| sessions.see(event));
    }
    let live = histories.live_situation(&sessions, histories.request(question.as_bytes()).unwrap());
    let events: Vec<&[u8]> = events.iter().map(|event| event.as_bytes()).collect();
    let told =
        histories.situation(None, &events, Some(histories.request(question.as_bytes()).unwrap())).unwrap().unwrap();
    assert_eq!(live.state, told.state);
    assert_ne!(live.state, fresh.state, "the history reaches the state");
}

#[test]
fn best_first_is_in_the_order_of_the_scores_and_propensities_are_the_tempered_softmax() {
    let served = served(Some(0.5));
    let answer = ask(&served, &mut Draw::BestFirst, &json!({ "decision": decision(0.3), "top": 3 })).unwrap();
    assert_eq!(answer.items.iter().map(|item| &**item).collect::<Vec<_>>(), ["d", "c", "b"]);
    assert_eq!(answer.scores, [4.0_f32 * 0.3, 3.0 * 0.3, 2.0 * 0.3]);
    let weights: Vec<f64> = (1..=4).map(|number| (f64::from(number as f32 * 0.3_f32) / 0.5).exp()).collect();
    let mass: f64 = weights.iter().sum();
    for (rank, propensity) in answer.propensities.iter().enumerate() {
        assert!((propensity - weights[3 - rank] / mass).abs() < 1e-12, "{propensity}");
    }
    assert_eq!((answer.policy_version, answer.state), (7, Some(vec![0.3])));
    // All of them, and no more.
    let all = ask(&served, &mut Draw::BestFirst, &json!({ "decision": decision(-1.0), "top": 99 })).unwrap();
    assert_eq!(all.items.iter().map(|item| &**item).collect::<Vec<_>>(), ITEMS);
    assert!((all.propensities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

#[test]
fn draws_follow_the_propensities_without_repeats_and_by_the_seed() {
    let served = served(None);
    let question = json!({ "decision": decision(0.4), "top": 2 });
    let run = |seed: u64| {
        let mut draw = Draw::sampled(seed);
        (0..4_000).map(|_| ask(&served, &mut draw, &question).unwrap()).collect::<Vec<_>>()
    };
    let answers = run(3);
    assert_eq!(answers[..50], run(3)[..50]);
    assert_ne!(answers[..50], run(4)[..50]);
    let best = ask(&served, &mut Draw::BestFirst, &json!({ "decision": decision(0.4), "top": 4 })).unwrap();
    for (item, propensity) in best.items.iter().zip(&best.propensities) {
        let share = answers.iter().filter(|answer| answer.items[0] == *item).count() as f64 / 4_000.0;
        let deviation = (propensity * (1.0 - propensity) / 4_000.0).sqrt();
        assert!((share - propensity).abs() < 4.5 * deviation, "{item}: {share} of {propensity}");
    }
    assert!(answers.iter().all(|answer| answer.items[0] != answer.items[1]));
}

#[test]
fn candidates_restrict_and_unknown_ones_do_not_count() {
    let served = served(None);
    let ask = |candidates: Value| {
        let mut decision = decision(1.0);
        decision["candidates"] = candidates;
        ask(&served, &mut Draw::BestFirst, &json!({ "decision": decision, "top": 9 }))
    };
    let answer = ask(json!(["b", "new", "a"])).unwrap();
    assert_eq!(answer.items.iter().map(|item| &**item).collect::<Vec<_>>(), ["b", "a"]);
    assert!((answer.propensities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(ask(json!(["new", "newer"])).unwrap_err().contains("none of the 2 candidates"));
    assert!(ask(json!(["a", "a"])).unwrap_err().contains("listed twice"));
}

#[test]
fn a_gaussian_policy_prefers_what_is_near_its_mean() {
    let (_, encoder) = bandit();
    let encoder = StateEncoder {
        catalog: Arc::new(
            Catalog::from_items([("near".to_owned(), vec![1.0, 0.1]), ("far".to_owned(), vec![-1.0, 0.0])]).unwrap(),
        ),
        ..(*encoder).clone()
    };
    let tensors = vec![
        Tensor::new("layer.0.weight", vec![1, 2], vec![1.0, 0.0]),
        Tensor::new("layer.0.bias", vec![2], vec![0.0, 0.0]),
        Tensor::new("log_sigma", vec![2], vec![0.0, -1.0]),
    ];
    let policy = Policy::new(1, Head::Gaussian { dimension: 2 }, tensors, None).unwrap();
    let embeddings = encoder.catalog.embeddings().to_vec();
    let publication = publication(Draft {
        item_embeddings: Some(embeddings),
        ..Draft::of_nobody(policy, &["near", "far"], &encoder)
    });
    let recommender = Recommender::new(publication, &StateShape::of(&encoder), None).unwrap();
    let situation = Situation { state: vec![1.0], candidates: None };
    let choices = recommender.choose(&situation, 2, &mut Draw::BestFirst).unwrap();
    assert_eq!((&*choices[0].item, &*choices[1].item), ("near", "far"));
    // log N(mean (1, 0), sigma (1, 1/e)): the gap between the two is .5 * 2^2 - .5 * (.1 e)^2.
    let gap = f64::from(choices[0].score - choices[1].score);
    assert!((gap - (2.0 - 0.005 * std::f64::consts::E.powi(2))).abs() < 1e-5, "{gap}");
    assert!((choices[0].propensity - 1.0 / (1.0 + (-gap).exp())).abs() < 1e-6);
}

#[test]
fn a_wrong_line_is_named_and_changes_nothing() {
    let served = served(None);
    let event = |item: &str, x: f64| json!({ "ts": 1_700_000_000_000_i64, "user": "u", "item": item, "x": [x] });
    let mut unknown = decision(1.0);
    unknown["candidates"] = json!(["new"]);
    for (question, expected) in [
        (json!({ "session": "s", "decision": decision(1.0), "tpo": 3 }), "unknown field `tpo`"),
        (json!({ "session": "s", "decision": decision(1.0), "top": 0 }), "top must be at least 1"),
        (json!({ "session": ["s"], "decision": decision(1.0) }), "neither a string nor a number"),
        (json!({ "session": "s", "decision": { "user": "u" } }), "decision: "),
        (json!({ "session": "s", "events": [event("a", 1.0), { "user": "u" }] }), "events[1]: "),
        (json!({ "session": "s", "events": [event("a", 1.0)], "decision": unknown }), "none of the 1 candidates"),
        (json!({ "decision": decision(3e38) }), "no numbers: the state is too large for its arithmetic"),
        (json!([1]), "not a question"),
    ] {
        let error = ask(&served, &mut Draw::BestFirst, &question).unwrap_err();
        assert!(error.contains(expected), "{question}: {error}");
        assert!(served.0.is_empty(), "{question} opened a session");
    }
    // Nor does its `end` end anything.
    ask(&served, &mut Draw::BestFirst, &json!({ "session": "s", "decision": decision(1.0) })).unwrap();
    ask(&served, &mut Draw::BestFirst, &json!({ "session": "s", "decision": unknown, "end": true })).unwrap_err();
    assert_eq!(served.0.len(), 1);
    assert!(
        answer(
            &served.0,
            &served.1,
            &mut Draw::BestFirst,
            Asking::Line { explain: false },
            b"{\"decision\": {\"x\": [1]}"
        )
        .is_err()
    );
}

#[test]
fn sessions_are_bounded_and_end_when_told() {
    let served = served(None);
    let ask = |session: &str, more: Value| {
        let mut question = json!({ "session": session, "decision": decision(1.0) });
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&served, &mut Draw::BestFirst, &question).unwrap()
    };
    for session in ["s1", "s2", "s1", "s3"] {
        ask(session, json!({}));
    }
    assert_eq!(served.0.len(), 2);
    // s2 was unused for longest.
    served.0.end("s2");
    assert_eq!(served.0.len(), 2);
    assert_eq!(ask("s1", json!({ "end": true })).items.len(), 1);
    assert_eq!(served.0.len(), 1);
}

#[test]
fn what_sessions_hold_is_bounded_in_bytes_however_few_they_are() {
    let (decoder, encoder) = bandit();
    let bytes = 1 << 20;
    let limits = HistoryLimits { sessions: 1_000, bytes };
    let histories = Histories::new(decoder, encoder, SessionRules::default(), limits);
    let long = "x".repeat(900);
    for number in 0..4_000 {
        // Many users under one name, and one user under many names.
        let event =
            |user: String| json!({ "ts": 1_700_000_000_000_i64 + number, "user": user, "item": "a", "x": [1.0] });
        let (crowd, lone) = (event(format!("{long}{number}")).to_string(), event(long.clone()).to_string());
        histories.situation(Some("crowd"), &[crowd.as_bytes()], None).unwrap();
        histories.situation(Some(&format!("s{number}")), &[lone.as_bytes()], None).unwrap();
        assert!(histories.bytes() <= bytes, "{} after {number}", histories.bytes());
    }
    // The bytes and not the count are what bounds them, and the crowd has not driven the others out.
    assert!((100..1_000).contains(&histories.len()), "{}", histories.len());
}

#[test]
fn a_policy_for_other_states_is_refused_by_the_names_of_the_settings() {
    let (_, encoder) = bandit();
    let other = StateEncoder { pooling: Pooling::Mean { length: 3 }, ..(*encoder).clone() };
    let error = Recommender::new(linear(&ITEMS, &encoder), &StateShape::of(&other), None).unwrap_err();
    assert_eq!(error, UnfitError::OtherStates(vec!["state.history"]).clone());
    let error = Recommender::new(linear(&ITEMS, &encoder), &StateShape::of(&encoder), Some(0.0)).unwrap_err();
    assert!(error.to_string().contains("above 0"), "{error}");
}
