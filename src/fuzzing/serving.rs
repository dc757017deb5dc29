//! The doors of serving: requests of HTTP, and questions to a policy.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::PrometheusHandle;

use crate::assemble::SessionRules;
use crate::catalog::Catalog;
use crate::decode::{Decoder, Mapping};
use crate::http::overheard::overhear;
use crate::http::{Limits, Shown};
use crate::live;
use crate::policy::{Head, Policy, Tensor};
use crate::position::Offset;
use crate::publish::{Draft, StateShape};
use crate::serve::{self, Answer, Asking, Draw, Histories, HistoryLimits, Live, Recommender};
use crate::state::{Pooling, StateEncoder};
use crate::telemetry::{self, Health};

const ITEMS: [&str; 4] = ["a", "b", "c", "d"];

/// Any bytes arrive on a connection. Nobody is answered with 500, and the answers do not depend on how the bytes were cut
/// into packets.
pub fn http(data: &[u8]) {
    let limits = Limits { head_bytes_max: 8192, headers_max: 8, body_bytes_max: 512, ..Limits::default() };
    let [whole, pieces] = [data.len(), 1 + data.len() % 7].map(|piece| overhear(shown(), limits, data, piece));
    let whole = String::from_utf8_lossy(&whole);
    assert!(whole.is_empty() || whole.starts_with("HTTP/1."), "{whole}");
    // With its end of line it stands in no body: those with strangers' words in them are JSON.
    assert!(!whole.contains("HTTP/1.1 500 Internal Server Error\r\n"), "{whole}");
    // If the connection ends in the middle of a request, its answer may or may not have been given by then.
    let pieces = String::from_utf8_lossy(&pieces);
    let (whole, pieces) = (codes(&whole), codes(&pieces));
    assert!(whole.starts_with(&pieces) || pieces.starts_with(&whole), "{whole:?} or {pieces:?}");
}

/// Lines are questions, of somebody at standard input and of a running learner's users. The same questions get the same
/// answers, and every answer is part of a distribution.
pub fn questions(data: &[u8]) {
    let sessions = watched();
    let draws: [fn() -> Draw; 2] = [|| Draw::BestFirst, || Draw::sampled(7)];
    for draw in draws {
        for asking in [Asking::Line { explain: true }, Asking::Live(&sessions)] {
            let told = answers(data, draw(), asking);
            assert_eq!(told, answers(data, draw(), asking), "the same questions were answered differently");
            told.iter().flatten().for_each(check_answer);
        }
    }
}

fn answers(data: &[u8], mut draw: Draw, asking: Asking<'_>) -> Vec<Result<Answer, String>> {
    let histories = histories();
    let lines = data.split(|byte| *byte == b'\n').take(8);
    let answers = lines.map(|line| serve::answer(&histories, recommender(), &mut draw, asking, line));
    answers.map(|answer| answer.map_err(|error| error.to_string())).collect()
}

fn check_answer(answer: &Answer) {
    let distinct: BTreeSet<_> = answer.items.iter().collect();
    assert_eq!(distinct.len(), answer.items.len(), "an item was answered twice: {answer:?}");
    assert_eq!((answer.scores.len(), answer.propensities.len()), (distinct.len(), distinct.len()));
    assert!(answer.scores.iter().all(|score| score.is_finite()), "{answer:?}");
    let mass: f64 = answer.propensities.iter().sum();
    assert!(answer.propensities.iter().all(|share| *share >= 0.0) && mass <= 1.0 + 1e-9, "{answer:?}");
}

/// The status of every answer. A head that is wrong is the end of a conversation; whether that is said when the connection
/// has ended as well depends on the packets.
fn codes(answers: &str) -> Vec<&str> {
    let code = |(at, mark): (usize, &str)| answers[at + mark.len()..].get(..3).unwrap_or("");
    let mut codes: Vec<&str> = answers.match_indices("HTTP/1.1 ").map(code).collect();
    codes.pop_if(|last| *last == "400");
    codes
}

/// As new: what is asked in one round is not remembered in the next.
fn shown() -> Shown {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    let metrics = METRICS.get_or_init(|| match telemetry::recorder() {
        Ok(recorder) => recorder.handle(),
        Err(error) => panic!("{error}"),
    });
    let sessions = Arc::new(watched());
    let live = Live::new(histories(), StateShape::of(&encoder()), Arc::clone(&sessions));
    live.swap(made().unwrap_or_else(|error| panic!("{error}")));
    Shown { health: Arc::new(Health::new()), metrics: metrics.clone(), sessions, live: Arc::new(live) }
}

/// What the topic has shown of its users: the decision of one of them.
fn watched() -> live::Sessions {
    let sessions = live::Sessions::new(2).with_history(2);
    let shown = br#"{"type":"decision","ts":1767225600000,"user":"u","session":"s","item":"a","context":[1,0.5]}"#;
    let mut events = Vec::new();
    let read = decoder().decode(Offset::from_count(0), None, Some(shown), &mut events);
    assert!(read.is_ok(), "{read:?}");
    events.iter().for_each(|event| sessions.see(event));
    sessions
}

fn histories() -> Histories {
    let rules = SessionRules { max_steps: 3, ..SessionRules::default() };
    Histories::new(Arc::clone(decoder()), Arc::new(encoder()), rules, HistoryLimits { sessions: 2, bytes: 1 << 20 })
}

fn decoder() -> &'static Arc<Decoder> {
    static DECODER: OnceLock<Arc<Decoder>> = OnceLock::new();
    DECODER.get_or_init(|| {
        let mapping = Mapping { context_dimension: Some(2), ..Mapping::default() };
        Arc::new(Decoder::new(&mapping).unwrap_or_else(|error| panic!("{error}")))
    })
}

fn encoder() -> StateEncoder {
    let pooling = Pooling::Mean { length: 2 };
    StateEncoder { context_dimension: 2, pooling, hashed_dimension: 2, catalog: Arc::new(Catalog::default()) }
}

fn recommender() -> &'static Recommender {
    static MADE: OnceLock<Recommender> = OnceLock::new();
    MADE.get_or_init(|| made().unwrap_or_else(|error| panic!("{error}")))
}

/// One linear layer over the state.
fn made() -> Result<Recommender, Box<dyn std::error::Error>> {
    let (encoder, shape) = (encoder(), StateShape::of(&encoder()));
    let inputs = encoder.dimension();
    let numbers = |count: usize| (1..=count).map(|number| number as f32 / 4.0).collect::<Vec<f32>>();
    let tensors = vec![
        Tensor::new("layer.0.weight", vec![inputs, 1], numbers(inputs)),
        Tensor::new("layer.0.bias", vec![1], numbers(1)),
        Tensor::new("item_vectors", vec![ITEMS.len(), 1], numbers(ITEMS.len())),
    ];
    let policy = Policy::new(inputs, Head::Learned { dimension: 1 }, tensors, None)?;
    let draft = Draft::of_nobody(policy, &ITEMS, &encoder);
    Ok(Recommender::from_draft(draft, &shape)?)
}
