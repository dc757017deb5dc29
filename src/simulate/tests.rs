use std::collections::{BTreeMap, BTreeSet};

use super::record::Damage;
use super::*;
use crate::time::EventTime;

fn world(change: impl FnOnce(&mut RawSimulateSettings)) -> World {
    let mut raw = RawSimulateSettings { items: 300, clusters: 40, sessions: 150, users: 60, ..Default::default() };
    change(&mut raw);
    World::new(SimulateSettings::new(raw, EventTime::FIRST).expect("settings of a test are valid"))
}

fn sessions(world: &World, count: u64) -> Vec<Session> {
    (0..count).map(|number| Session::play(world, number, world.settings().start())).collect()
}

fn fields(record: &Record) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_slice(&record.json).ok()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (first, again, other) = (world(|_| ()), world(|_| ()), world(|raw| raw.seed = 2));
    assert!(first.events().eq(again.events()));
    assert!(!first.events().eq(other.events()));
    let catalogue = |world: &World| {
        let mut text = Vec::new();
        world.write_catalogue(&mut text).map(|()| text).expect("a vector takes everything")
    };
    assert_eq!(catalogue(&first), catalogue(&again));
    assert_ne!(catalogue(&first), catalogue(&other));
}

#[test]
fn a_session_does_not_depend_on_what_was_asked_before() {
    let (fresh, used) = (world(|_| ()), world(|_| ()));
    let trial = Trial { episodes: 3, seed: 7, time: EventTime::START };
    used.rollout(Actor::Mixture, trial);
    assert_eq!(used.events().count(), fresh.events().count());
    let start = fresh.settings().start();
    assert_eq!(Session::play(&fresh, 41, start), Session::play(&used, 41, start));
}

#[test]
fn every_recommender_is_a_distribution_over_the_whole_catalogue() {
    let world = world(|raw| raw.temperature = 0.003);
    for session in sessions(&world, 20) {
        for step in &session.steps {
            let taste = world.taste(&step.context, 0.0);
            for logger in Logger::ALL {
                let probabilities = logger.probabilities(&world, &taste);
                let sum: f64 = probabilities.iter().sum();
                assert!((sum - 1.0).abs() < 1e-9, "{} sums to {sum} in session {}", logger.name(), session.number);
                let least = probabilities.iter().copied().fold(1.0, f64::min);
                assert!(least >= 0.02 / 300.0 * 0.999, "{}: an item has only {least}", logger.name());
            }
            let logged = session.logger.unwrap().probabilities(&world, &taste)[step.item];
            assert!((step.propensity / logged - 1.0).abs() < 1e-5, "session {}", session.number);
        }
    }
}

#[test]
fn importance_weights_have_mean_one_under_every_recommender() {
    // If the logged propensities are true, the weights of any other policy average to 1. Here: the uniform one.
    let world = world(|raw| {
        raw.items = 20;
        raw.clusters = 5;
        raw.temperature = 0.3;
    });
    let weights: Vec<f64> =
        sessions(&world, 3_000).iter().flat_map(|s| &s.steps).map(|step| 1.0 / 20.0 / step.propensity).collect();
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    let variance = weights.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / weights.len() as f64;
    let error = (variance / weights.len() as f64).sqrt();
    assert!((mean - 1.0).abs() < 4.0 * error, "mean {mean}, standard error {error}");
}

#[test]
fn the_regimes_and_the_noise_share_say_who_serves() {
    let cases = [
        (Regime::Medium, 0.0, [0.10, 0.60, 0.30]),
        (Regime::Extreme, 0.0, [0.05, 0.05, 0.90]),
        (Regime::Medium, 0.5, [0.05, 0.30, 0.65]),
    ];
    for (regime, noise_share, expected) in cases {
        let world = world(|raw| {
            raw.regime = regime;
            raw.noise_share = noise_share;
            raw.items = 10;
            raw.clusters = 5;
            raw.steps_max = 5;
        });
        let sum: f64 = world.settings().logger_shares().iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        let count = 4_000;
        let mut served = BTreeMap::new();
        for session in sessions(&world, count) {
            *served.entry(session.logger.unwrap()).or_insert(0.0) += 1.0 / count as f64;
        }
        for (logger, share) in Logger::ALL.into_iter().zip(expected) {
            let four_errors = 4.0 * (share * (1.0 - share) / count as f64).sqrt();
            assert!((served[&logger] - share).abs() < four_errors, "{regime:?} {noise_share}: {served:?}");
        }
    }
}

#[test]
fn the_reward_is_the_formula_of_the_paper() {
    let world = world(|raw| raw.delta = 0.5);
    for session in sessions(&world, 10) {
        for step in &session.steps {
            // Written out again, in another precision and order: (1 - cos) / (2 * 0.25) = 2 - 2 cos.
            let taste = world.taste(&step.context, 0.0);
            let cosine: f64 = world.embedding(step.item).iter().zip(&taste).map(|(a, b)| f64::from(a * b)).sum();
            let by_hand = (2.0 * cosine - 2.0).exp();
            assert!((step.latent - by_hand).abs() < 1e-5, "{} {by_hand}", step.latent);
            assert!((0.0..=1.0).contains(&step.reward));
        }
    }
    // Noise has standard deviation 0.1; clipped at both ends.
    assert_eq!(world.settings().observed_reward(0.5, 1.0), 0.6);
    assert_eq!(world.settings().observed_reward(0.95, 1.0), 1.0);
    assert_eq!(world.settings().observed_reward(0.05, -1.0), 0.0);
    assert_eq!(world.settings().observed_reward(0.123_456_789, 0.0), 0.123_46);
}

#[test]
fn records_come_in_order_of_arrival_and_none_is_later_than_allowed() {
    let world = world(|raw| {
        raw.disorder_share = 0.3;
        raw.duplicate_share = 0.1;
    });
    let mut latest_arrival = EventTime::START;
    let mut out_of_order = 0;
    for record in world.events() {
        assert!(record.arrival >= latest_arrival);
        latest_arrival = record.arrival;
        let delay = record.arrival.since(record.time).millis();
        assert!((0..=20_000).contains(&delay), "{delay} ms late");
        out_of_order += usize::from(delay > 0);
    }
    assert!(out_of_order > 100, "{out_of_order}");
}

#[test]
fn without_disorder_arrival_is_event_time() {
    let world = world(|raw| raw.disorder_share = 0.0);
    let world_without_repeats = world.events().filter(|record| record.arrival != record.time).count();
    // Only the repeated copies come later.
    assert!(world_without_repeats < 40, "{world_without_repeats}");
}

#[test]
fn the_log_tells_exactly_what_happened() {
    let world = world(|raw| {
        raw.bad_record_share = 0.0;
        raw.duplicate_share = 0.0;
    });
    let records: Vec<Record> = world.events().collect();
    let (mut rewards, mut ids, mut ends) = (BTreeMap::new(), BTreeSet::new(), 0);
    let mut decisions: BTreeMap<String, Vec<serde_json::Map<String, serde_json::Value>>> = BTreeMap::new();
    for record in &records {
        let event = fields(record).expect("every record is sound");
        assert_eq!(record.time.millis(), event["ts"].as_i64().unwrap());
        assert_eq!(record.audience, Audience::User(event["user"].as_str().unwrap().to_owned()));
        assert!(ids.insert(event["event_id"].as_str().unwrap().to_owned()), "{event:?}");
        let session = event["session"].as_str().unwrap().to_owned();
        match event["type"].as_str().unwrap() {
            "decision" => decisions.entry(session).or_default().push(event),
            "reward" => {
                rewards.insert(event["decision_id"].as_str().unwrap().to_owned(), event["value"].as_f64().unwrap());
            }
            "session_end" => ends += 1,
            other => panic!("no such kind: {other}"),
        }
    }
    assert_eq!(decisions.len(), 150);
    assert!((75..135).contains(&ends), "{ends} of 150 say goodbye");
    for logged in decisions.values_mut() {
        logged.sort_by_key(|event| event["ts"].as_i64());
        let number = logged[0]["session"].as_str().unwrap()[1..].parse().unwrap();
        let start = EventTime::new(logged[0]["ts"].as_i64().unwrap()).unwrap();
        let session = Session::play(&world, number, start);
        assert_eq!(logged.len(), session.steps.len());
        for (event, step) in logged.iter().zip(&session.steps) {
            assert_eq!(event["item"], world::item_id(step.item));
            assert_eq!(event["propensity"].as_f64(), Some(step.propensity));
            assert_eq!(rewards[event["decision_id"].as_str().unwrap()], step.reward);
            // A reader of the record holds the very numbers that decided the reward.
            let read: Vec<f32> =
                event["context"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
            assert_eq!(read, step.context);
        }
    }
}

#[test]
fn some_rewards_come_after_the_session_and_none_too_late() {
    let world = world(|_| ());
    let (mut after_the_end, mut all) = (0, 0);
    for session in sessions(&world, 150) {
        let last_decision = session.steps.last().unwrap().time;
        for step in &session.steps {
            let delay = step.feedback_time.since(step.time).millis();
            assert!((1..=30 * 60 * 1_000).contains(&delay), "{delay}");
            after_the_end += usize::from(step.feedback_time.since(last_decision).millis() > 60_000);
            all += 1;
        }
    }
    assert!(after_the_end * 50 > all, "{after_the_end} of {all}");
}

#[test]
fn sessions_run_side_by_side() {
    let world = world(|_| ());
    let mut last: Option<String> = None;
    let (mut changes, mut count) = (0, 0);
    for event in world.events().filter_map(|record| fields(&record)) {
        let session = event["session"].as_str().map(str::to_owned);
        changes += usize::from(session != last);
        last = session;
        count += 1;
    }
    assert!(changes * 3 > count * 2, "{changes} of {count}");
}

#[test]
fn broken_records_are_added_and_take_nothing_away() {
    let clean = world(|raw| {
        raw.bad_record_share = 0.0;
        raw.duplicate_share = 0.0;
        raw.disorder_share = 0.0;
    });
    let dirty = world(|raw| {
        raw.bad_record_share = 0.5;
        raw.duplicate_share = 0.3;
        raw.disorder_share = 0.2;
    });
    let texts = |world: &World| world.events().map(|record| record.json).collect::<BTreeSet<_>>();
    assert!(texts(&dirty).is_superset(&texts(&clean)));
    let added = dirty.events().count() - clean.events().count();
    // Of about 1,125 decisions half are broken once; of about 2,350 events 30 % are repeated.
    assert!((1_000..1_600).contains(&added), "{added}");
}

#[test]
fn every_damage_is_a_damage() {
    let world = world(|_| ());
    let whole = world.events().find(|record| record.json.starts_with(b"{\"type\":\"decision\"")).unwrap().json;
    let mut seen = BTreeSet::from([whole.clone()]);
    for damage in Damage::ALL {
        assert!(seen.insert(damage.done_to(whole.clone())), "{damage:?} left the record as it was");
    }
}

#[test]
fn watermarks_promise_no_more_than_is_kept() {
    let world = world(|raw| {
        raw.watermark_every = std::time::Duration::from_secs(60);
        raw.disorder_share = 0.2;
    });
    let (mut promised, mut watermarks, mut last, mut latest) = (EventTime::START, 0, None, EventTime::START);
    for record in world.events() {
        match record.audience {
            Audience::EveryPartition => {
                promised = record.time;
                watermarks += 1;
            }
            Audience::User(_) => {
                assert!(promised.since(record.time).millis() <= 20_000);
                latest = record.arrival;
            }
        }
        last = Some(record.audience);
    }
    assert!(watermarks > 10, "{watermarks}");
    assert_eq!(last, Some(Audience::EveryPartition), "the last word closes what is open");
    // Every session's rewards have come, or never will, half an hour (`delayed_max`) after its last event.
    assert!(promised.since(latest).millis() >= 30 * 60 * 1_000, "{promised} {latest}");
}

#[test]
fn an_endless_log_goes_on() {
    let world = world(|raw| {
        raw.sessions = 0;
        raw.items = 10;
        raw.clusters = 5;
    });
    assert_eq!(world.events().take(20_000).count(), 20_000);
}

#[test]
fn policies_are_ranked_as_they_were_built() {
    let world = world(|_| ());
    let trial = Trial { episodes: 200, seed: 3, time: EventTime::START };
    let of = |actor: Actor<'_>| world.rollout(actor, trial);
    let best = of(Actor::Best);
    let [expert, popular, random] = Logger::ALL.map(|logger| of(Actor::Logger(logger)));
    let mixture = of(Actor::Mixture);
    assert!(best.mean > expert.mean && expert.low > popular.high && popular.low > random.high);
    assert!(expert.low > mixture.high && mixture.low > random.high);
    // A policy that knows the taste is the best one, item by item.
    let knowing = world.rollout(Actor::Policy(&mut |context| Choice::Embedding(world.taste(context, 0.0))), trial);
    assert_eq!(knowing, best);
    let one_item = world.rollout(Actor::Policy(&mut |_| Choice::Item(usize::MAX)), trial);
    assert!(one_item.mean < expert.low, "an item beyond the catalogue is its last one");
}

#[test]
fn the_log_and_the_trial_measure_the_same_return() {
    let world = world(|_| ());
    let logged: Vec<f64> = sessions(&world, 1_500).iter().map(Session::total_reward).collect();
    let mean = logged.iter().sum::<f64>() / logged.len() as f64;
    let measured = world.rollout(Actor::Mixture, Trial { episodes: 1_500, seed: 5, time: EventTime::START });
    assert!((mean - measured.mean).abs() < 2.0 * (measured.high - measured.low), "{mean} {measured:?}");
}

#[test]
fn the_interval_holds_the_long_run_mean_nineteen_times_in_twenty() {
    let world = world(|raw| {
        raw.items = 20;
        raw.clusters = 5;
    });
    let trial = |episodes, seed| world.rollout(Actor::Mixture, Trial { episodes, seed, time: EventTime::START });
    let truth = trial(20_000, 0).mean;
    let held = (1..=200).map(|seed| trial(50, seed)).filter(|trial| (trial.low..=trial.high).contains(&truth)).count();
    assert!((178..=198).contains(&held), "{held} of 200");
}

#[test]
fn taste_drifts_when_it_is_told_to() {
    let hour = std::time::Duration::from_secs(3_600);
    let world = world(|raw| {
        raw.drift_after = hour;
        raw.drift_length = hour;
        raw.drift_strength = 0.8;
    });
    let settings = world.settings();
    let after = |minutes: u32| settings.start().plus(crate::time::Span::from_millis(minutes * 60_000));
    let expected = [(0, 0.0), (59, 0.0), (90, 0.4), (120, 0.8), (500, 0.8)];
    for (minutes, drift) in expected {
        assert!((settings.drift_at(after(minutes)) - drift).abs() < 1e-12, "after {minutes} minutes");
    }
    let trial = |time| Trial { episodes: 100, seed: 3, time };
    let old_taste = |time| world.rollout(Actor::Policy(&mut |x| Choice::Embedding(world.taste(x, 0.0))), trial(time));
    assert!(old_taste(EventTime::START).low > old_taste(EventTime::END).high);
    assert!(world.rollout(Actor::Best, trial(EventTime::END)).low > old_taste(EventTime::END).high);
}

#[test]
fn the_top_tenth_of_the_log_was_mostly_served_by_the_expert() {
    // Otherwise a filter on the return could not teach anything.
    let world = world(|_| ());
    let mut log = sessions(&world, 1_000);
    log.sort_by(|a, b| b.total_reward().total_cmp(&a.total_reward()));
    let expert = log[..100].iter().filter(|session| session.logger == Some(Logger::Expert)).count();
    assert!(expert > 45, "{expert} of 100, with 10 % experts in the log");
}

#[test]
fn impossible_settings_are_refused_by_name() {
    let refused = |change: fn(&mut RawSimulateSettings)| {
        let mut raw = RawSimulateSettings::default();
        change(&mut raw);
        SimulateSettings::new(raw, EventTime::FIRST).expect_err("refused").to_string()
    };
    assert_eq!(refused(|raw| raw.noise_share = 1.5), "simulate.noise_share must be between 0 and 1, not 1.5");
    assert!(refused(|raw| raw.delta = f64::NAN).contains("simulate.delta"));
    assert!(refused(|raw| raw.delta = 0.0).contains("simulate.delta"));
    assert!(refused(|raw| raw.items = 0).contains("simulate.items"));
    assert!(refused(|raw| raw.clusters = 9_999).contains("simulate.clusters"));
    assert!(refused(|raw| raw.steps_min = 11).contains("simulate.steps_min"));
    assert!(refused(|raw| raw.start = "yesterday".into()).contains("simulate.start"));
    assert!(refused(|raw| raw.session_every = std::time::Duration::ZERO).contains("simulate.session_every"));
}

#[test]
fn a_log_can_begin_now() {
    let begin = |start: &str| world(|raw| raw.start = start.into()).settings().start();
    assert_eq!(begin("now"), EventTime::FIRST, "the time that the test gives as now");
    assert_eq!(begin("2026-01-01T00:00:00Z").millis(), 1_767_225_600_000);
}

/// The one section of a settings file that this module reads.
fn section(file: &str) -> RawSimulateSettings {
    let file: toml::Table = toml::from_str(file).expect("TOML");
    file["simulate"].clone().try_into().expect("settings of the simulator")
}

#[test]
fn the_demo_writes_out_every_default() {
    let demo = include_str!("../../configs/demo.toml");
    // Only the pace is its own: a person wants to watch.
    let written = section(demo);
    assert_eq!(written, RawSimulateSettings { rate: written.rate, ..RawSimulateSettings::default() });
    let text = toml::Table::try_from(RawSimulateSettings::default()).unwrap();
    for name in text.keys() {
        assert!(demo.contains(&format!("\n{name} = ")), "{name} is not in configs/demo.toml");
    }
}

#[test]
fn the_log_of_the_containers_keeps_behind_the_clock() {
    let raw = section(include_str!("../../configs/compose.toml"));
    let settings = SimulateSettings::new(raw, EventTime::FIRST).unwrap();
    assert_eq!((settings.sessions(), settings.start()), (None, EventTime::FIRST));
    let world = World::new(
        SimulateSettings::new(
            RawSimulateSettings { items: 10, clusters: 5, ..settings.raw().clone() },
            EventTime::FIRST,
        )
        .unwrap(),
    );
    let records = 60_000;
    let last = world.events().nth(records).unwrap();
    let event_seconds = last.arrival.since(EventTime::FIRST).millis() as f64 / 1e3;
    let wall_seconds = records as f64 / settings.rate().unwrap();
    let ratio = event_seconds / wall_seconds;
    assert!((0.6..1.0).contains(&ratio), "{ratio}");
}

#[test]
fn settings_survive_a_file() {
    let raw = RawSimulateSettings { seed: 9, regime: Regime::Extreme, ..Default::default() };
    let text = toml::to_string(&raw).unwrap();
    assert!(text.contains("regime = \"extreme\"") && text.contains("delayed_max = \"30m\""), "{text}");
    assert_eq!(toml::from_str::<RawSimulateSettings>(&text).unwrap(), raw);
    assert_eq!(toml::from_str::<RawSimulateSettings>("").unwrap(), RawSimulateSettings::default());
    assert!(toml::from_str::<RawSimulateSettings>("sede = 1").is_err());
}
