//! The lane against the batch oracle, against crashes, and against each rule by name.

use proptest::prelude::*;

use super::oracle;
use super::*;
use crate::event::{Body, Decision, Feedback, Fingerprint, Target};
use crate::position::Offset;
use crate::time::Span;
use crate::trajectory::Ending;

const PARTITION: Partition = Partition(3);
const EPOCH: i64 = 1_700_000_000_000;

pub(crate) fn at(millis: i64) -> EventTime {
    EventTime::new(EPOCH + millis).unwrap()
}

fn span(millis: u32) -> Span {
    Span::from_millis(millis)
}

pub(crate) fn place(offset: u64) -> Place {
    Place { offset: Offset::from_count(offset), index: 0 }
}

fn interaction(time: i64, user: &str, session: Option<&str>, id: Option<u128>, body: Body) -> Event {
    let interaction =
        Interaction { id: id.map(Fingerprint), user: user.into(), session: session.map(Into::into), body };
    Event { place: place(0), time: at(time), kind: EventKind::Interaction(Box::new(interaction)) }
}

pub(crate) fn shown(time: i64, user: &str, session: Option<&str>, item: &str) -> Event {
    interaction(time, user, session, None, Body::Decision(decision(item, None)))
}

fn decision(item: &str, id: Option<u128>) -> Decision {
    Decision {
        id: id.map(Fingerprint),
        item: item.into(),
        embedding: None,
        context: [1.0].into(),
        candidates: None,
        propensity: Some(0.5),
        position: None,
        reward: 0.0,
    }
}

fn clicked(time: i64, user: &str, session: Option<&str>, item: &str, reward: f64, is_final: bool) -> Event {
    let feedback = Feedback { target: Target::LatestItem(item.into()), reward, is_final };
    interaction(time, user, session, None, Body::Feedback(feedback))
}

fn ended(time: i64, user: &str, session: Option<&str>) -> Event {
    interaction(time, user, session, None, Body::SessionEnd)
}

fn watermark(time: i64) -> Event {
    Event { place: place(0), time: at(time), kind: EventKind::Watermark }
}

fn numbered(mut events: Vec<Event>) -> Vec<Event> {
    for (offset, event) in (0..).zip(&mut events) {
        event.place = place(offset);
    }
    events
}

fn small_rules() -> SessionRules {
    SessionRules {
        gap: span(100),
        max_steps: 4,
        max_duration: span(350),
        reward_wait: span(0),
        lateness: span(20),
        jump_max: span(1000),
        max_waiting_events: 1000,
        max_open: 1000,
        max_bytes: 1 << 30,
    }
}

/// Runs the whole range through one lane, and looks at everything that must hold after each event.
fn run(events: &[Event], rules: &SessionRules) -> (Vec<Trajectory>, LaneCounters) {
    let mut lane = Lane::new(PARTITION, *rules);
    let mut out = Vec::new();
    for event in events {
        let (before, known) = (lane.watermark(), out.len());
        lane.observe(event.clone(), &mut out);
        assert_sound(&mut lane);
        let after = lane.watermark();
        assert!(before <= after);
        for trajectory in &out[known..] {
            assert!(before <= trajectory.key.time && trajectory.key.time <= after, "{before} {trajectory:?} {after}");
        }
    }
    lane.finish(&mut out);
    assert_sound(&mut lane);
    assert_eq!(lane.watermark(), EventTime::END);
    assert!(out.is_sorted_by_key(|trajectory| trajectory.key), "not in the order of the keys");
    (out, *lane.counters())
}

fn assert_sound(lane: &mut Lane) {
    lane.counters().check_conservation().unwrap();
    let again = Lane::restore(lane.snapshot(), lane.rules).unwrap();
    assert_eq!((lane.session_bytes, lane.waiting_bytes), (again.session_bytes, again.waiting_bytes), "footprints");
    let (agenda, derived) = (&lane.agenda, &again.agenda);
    assert_eq!(agenda.idle.len(), derived.idle.len(), "idle sessions");
    assert_eq!(agenda.started, derived.started);
    assert_eq!(agenda.emissions, derived.emissions);
    assert_eq!(agenda.parked, derived.parked);
    assert_eq!(agenda.remembered, derived.remembered);
}

fn bytes(lane: &mut Lane) -> Vec<u8> {
    postcard::to_stdvec(&lane.snapshot()).unwrap()
}

fn endings(events: Vec<Event>, rules: &SessionRules) -> Vec<(String, Ending, i64, usize, f64)> {
    let (trajectories, counters) = run(&numbered(events.clone()), rules);
    assert_eq!((trajectories.clone(), counters), oracle::expect(PARTITION, &numbered(events), rules));
    let line = |trajectory: &Trajectory| {
        let reward = trajectory.steps.iter().map(|step| step.reward).sum();
        let time = trajectory.key.time.millis() - EPOCH;
        (trajectory.user.to_string(), trajectory.ending, time, trajectory.steps.len(), reward)
    };
    trajectories.iter().map(line).collect()
}

prop_compose! {
    fn any_rules()(
        gap in 20u32..150, max_steps in 1u32..6, max_duration in 50u32..500,
        reward_wait in prop_oneof![Just(0u32), 1u32..300], lateness in prop_oneof![Just(0u32), 1u32..60],
        max_waiting_events in prop_oneof![3 => Just(1000u64), 1 => 1u64..8],
        max_open in prop_oneof![3 => Just(1000u64), 1 => 1u64..4],
    ) -> SessionRules {
        SessionRules {
            gap: span(gap), max_steps, max_duration: span(max_duration), reward_wait: span(reward_wait),
            lateness: span(lateness), jump_max: span(1000), max_waiting_events, max_open, max_bytes: 1 << 30,
        }
    }
}

prop_compose! {
    /// One event relative to the time before it, so that shrinking keeps the rest of the stream in place.
    fn any_event()(
        user in 0usize..4, session in prop_oneof![Just(None), Just(Some("s")), Just(Some("t"))], kind in 0u8..20,
        id in prop_oneof![2 => Just(None), 3 => (0u128..60).prop_map(Some)], item in 0usize..3, decision_id in 0u128..8,
        by_item in any::<bool>(), is_final in prop::bool::weighted(0.2), reward in -3i32..4,
        step in prop_oneof![6 => 0i64..15, 3 => 0i64..2, 1 => 50i64..400],
        back in prop_oneof![4 => Just(0i64), 3 => 0i64..40, 1 => 0i64..200, 1 => -1500i64..-900],
    ) -> (i64, i64, Event) {
        let user = ["ann", "bob", "eve", "zoe"][user];
        let item = ["x", "y", "z"][item];
        let body = match kind {
            0..10 => {
                let decision_id = (decision_id > 0).then_some(decision_id);
                Body::Decision(Decision { reward: f64::from(reward) / 8.0, ..decision(item, decision_id) })
            }
            10..18 => {
                let target =
                    if by_item { Target::LatestItem(item.into()) } else { Target::Decision(Fingerprint(decision_id)) };
                Body::Feedback(Feedback { target, reward: f64::from(reward) / 3.0, is_final })
            }
            _ => Body::SessionEnd,
        };
        (step, back, interaction(0, user, session, id, body))
    }
}

/// A stream in log order: shuffled within and beyond the lateness, with repetitions, jumps, fan-outs and watermarks.
fn any_stream() -> impl Strategy<Value = Vec<Event>> {
    let part = (any_event(), prop::bool::weighted(0.1), prop::bool::weighted(0.05), prop::bool::weighted(0.1));
    proptest::collection::vec(part, 1..150).prop_map(|parts| {
        let (mut now, mut events) = (10_000, Vec::<Event>::new());
        for ((step, back, mut event), is_repeated, is_watermark, is_fan_out) in parts {
            now += step;
            event.time = at(now - back);
            let last = events.last().map_or(place(0), |event| event.place);
            event.place = place(last.offset.raw() + 1);
            if is_fan_out {
                event.place = Place { index: last.index + 1, ..last };
            }
            if is_watermark {
                event.kind = EventKind::Watermark;
            }
            let again = is_repeated.then(|| events.get(events.len().wrapping_sub(3)).cloned()).flatten();
            let offset = event.place.offset.raw();
            events.push(event);
            events.extend(again.map(|again| Event { place: place(offset + 1), ..again }));
        }
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_lane_brings_what_the_definitions_say(events in any_stream(), rules in any_rules()) {
        let (expected, counters) = oracle::expect(PARTITION, &events, &rules);
        let (trajectories, counted) = run(&events, &rules);
        prop_assert_eq!(trajectories, expected);
        prop_assert_eq!(counted, counters);
    }

    #[test]
    fn a_crash_at_any_event_is_invisible(
        events in any_stream(), rules in any_rules(), crashes in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let crashes: Vec<usize> = crashes.iter().map(|crash| crash.index(events.len())).collect();
        let (mut straight, mut restarted) = (Lane::new(PARTITION, rules), Lane::new(PARTITION, rules));
        let (mut out, mut out_restarted) = (Vec::new(), Vec::new());
        let mut held = Vec::new();
        for (index, event) in events.iter().enumerate() {
            if crashes.contains(&index) {
                let sealed = bytes(&mut restarted);
                // A snapshot that is still being written while the lane goes on.
                held.push((straight.snapshot(), sealed.clone()));
                restarted = Lane::restore(postcard::from_bytes(&sealed).unwrap(), rules).unwrap();
            }
            straight.observe(event.clone(), &mut out);
            restarted.observe(event.clone(), &mut out_restarted);
            prop_assert_eq!(bytes(&mut straight), bytes(&mut restarted));
        }
        straight.finish(&mut out);
        restarted.finish(&mut out_restarted);
        prop_assert_eq!(bytes(&mut straight), bytes(&mut restarted));
        prop_assert_eq!(out, out_restarted);
        for (snapshot, sealed) in held {
            prop_assert_eq!(postcard::to_stdvec(&snapshot).unwrap(), sealed);
        }
    }

    #[test]
    fn the_limit_of_bytes_holds_after_every_event(events in any_stream(), rules in any_rules(), max_bytes in 0u64..6000) {
        let rules = SessionRules { max_bytes, ..rules };
        let mut lane = Lane::new(PARTITION, rules);
        let mut out = Vec::new();
        for event in events {
            lane.observe(event, &mut out);
            assert_sound(&mut lane);
            prop_assert!(lane.session_bytes <= max_bytes && lane.waiting_bytes <= max_bytes);
        }
        lane.finish(&mut out);
        prop_assert!(out.is_sorted_by_key(|trajectory| trajectory.key));
        prop_assert_eq!((lane.session_bytes, lane.waiting_bytes), (0, 0));
    }
}

#[test]
fn the_log_itself_can_end_a_session() {
    let events = vec![shown(0, "ann", Some("s"), "x"), ended(5, "ann", Some("s")), watermark(500)];
    assert_eq!(endings(events, &small_rules()), [("ann".into(), Ending::SessionEnd, 5, 1, 0.0)]);
}

#[test]
fn a_gap_ends_a_session_only_when_it_is_exceeded() {
    let same = vec![shown(0, "ann", None, "x"), shown(100, "ann", None, "y"), watermark(500)];
    assert_eq!(endings(same, &small_rules()), [("ann".into(), Ending::Gap, 200, 2, 0.0)]);
    let two = vec![shown(0, "ann", None, "x"), shown(101, "ann", None, "y"), watermark(500)];
    let expected = [("ann".into(), Ending::Gap, 100, 1, 0.0), ("ann".into(), Ending::Gap, 201, 1, 0.0)];
    assert_eq!(endings(two, &small_rules()), expected);
}

#[test]
fn feedback_keeps_a_session_alive() {
    let events = vec![
        shown(0, "ann", None, "x"),
        clicked(90, "ann", None, "x", 1.0, false),
        shown(180, "ann", None, "y"),
        watermark(500),
    ];
    assert_eq!(endings(events, &small_rules()), [("ann".into(), Ending::Gap, 280, 2, 1.0)]);
}

#[test]
fn the_last_allowed_step_ends_a_session() {
    let events = (0..5).map(|time| shown(time, "ann", None, "x")).chain([watermark(500)]).collect();
    let expected = [("ann".into(), Ending::Length, 3, 4, 0.0), ("ann".into(), Ending::Gap, 104, 1, 0.0)];
    assert_eq!(endings(events, &small_rules()), expected);
}

#[test]
fn a_session_lasts_no_longer_than_its_duration() {
    let rules = SessionRules { max_steps: 100, ..small_rules() };
    let times = [0, 90, 180, 270, 350, 351];
    let events = times.into_iter().map(|time| shown(time, "ann", None, "x")).chain([watermark(600)]).collect();
    let expected = [("ann".into(), Ending::Duration, 350, 5, 0.0), ("ann".into(), Ending::Gap, 451, 1, 0.0)];
    assert_eq!(endings(events, &rules), expected);
}

#[test]
fn the_longest_idle_session_makes_room() {
    let rules = SessionRules { max_open: 2, ..small_rules() };
    let events = vec![
        shown(0, "ann", None, "x"),
        shown(1, "bob", None, "x"),
        clicked(2, "ann", None, "x", 1.0, false),
        shown(3, "eve", None, "x"),
        watermark(500),
    ];
    let expected = [
        ("bob".into(), Ending::Evicted, 3, 1, 0.0),
        ("ann".into(), Ending::Gap, 102, 1, 1.0),
        ("eve".into(), Ending::Gap, 103, 1, 0.0),
    ];
    assert_eq!(endings(events, &rules), expected);
}

#[test]
fn the_end_of_the_range_closes_the_rest_by_key() {
    let events = vec![shown(0, "bob", None, "x"), shown(1, "ann", None, "x"), shown(7, "ann", Some("s"), "x")];
    let expected = [
        ("ann".into(), Ending::RangeEnd, 7, 1, 0.0),
        ("ann".into(), Ending::RangeEnd, 7, 1, 0.0),
        ("bob".into(), Ending::RangeEnd, 7, 1, 0.0),
    ];
    assert_eq!(endings(events, &small_rules()), expected);
}

#[test]
fn a_purchase_after_the_gap_counts_while_rewards_are_waited_for() {
    let rules = SessionRules { reward_wait: span(1000), jump_max: span(10_000), ..small_rules() };
    let events = vec![shown(0, "ann", None, "x"), clicked(900, "ann", None, "x", 10.0, false), watermark(5000)];
    assert_eq!(endings(events.clone(), &rules), [("ann".into(), Ending::Gap, 1000, 1, 10.0)]);
    let rules = SessionRules { reward_wait: span(800), ..rules };
    assert_eq!(endings(events, &rules), [("ann".into(), Ending::Gap, 800, 1, 0.0)]);
}

#[test]
fn a_final_feedback_ends_the_wait_and_what_follows_is_late() {
    let rules = SessionRules { reward_wait: span(1000), jump_max: span(10_000), ..small_rules() };
    let events = numbered(vec![
        shown(0, "ann", None, "x"),
        clicked(300, "ann", None, "x", 10.0, true),
        clicked(300, "ann", None, "x", 10.0, false),
        watermark(5000),
    ]);
    assert_eq!(endings(events.clone(), &rules), [("ann".into(), Ending::Gap, 300, 1, 10.0)]);
    assert_eq!(run(&events, &rules).1.late, 1);
}

#[test]
fn a_trajectory_waits_for_the_step_that_matures_last() {
    let rules = SessionRules { reward_wait: span(500), jump_max: span(10_000), ..small_rules() };
    let events = vec![
        shown(0, "ann", None, "x"),
        shown(50, "ann", None, "y"),
        clicked(60, "ann", None, "y", 1.0, true),
        clicked(450, "ann", None, "x", 2.0, false),
        watermark(5000),
    ];
    assert_eq!(endings(events, &rules), [("ann".into(), Ending::Gap, 500, 2, 3.0)]);
}

#[test]
fn feedback_waits_for_its_decision_as_long_as_events_may_be_late() {
    let events = numbered(vec![
        clicked(0, "ann", None, "x", 1.0, false),
        shown(20, "ann", None, "x"),
        clicked(30, "ann", None, "y", 1.0, false),
        shown(51, "ann", None, "y"),
        watermark(500),
    ]);
    assert_eq!(endings(events.clone(), &small_rules()), [("ann".into(), Ending::Gap, 151, 2, 1.0)]);
    assert_eq!(run(&events, &small_rules()).1.orphan, 1);
}

#[test]
fn a_key_that_the_log_has_ended_stays_closed_while_it_is_remembered() {
    let rules = SessionRules { lateness: span(50), ..small_rules() };
    let events = numbered(vec![
        shown(0, "ann", Some("s"), "x"),
        ended(5, "ann", Some("s")),
        shown(55, "ann", Some("s"), "x"),
        shown(56, "ann", Some("s"), "x"),
        watermark(500),
    ]);
    let expected = [("ann".into(), Ending::SessionEnd, 5, 1, 0.0), ("ann".into(), Ending::Gap, 156, 1, 0.0)];
    assert_eq!(endings(events.clone(), &rules), expected);
    assert_eq!(run(&events, &rules).1.late, 1);
}

#[test]
fn one_wild_clock_moves_no_watermark_and_three_records_of_two_users_do() {
    let wild = |user| shown(50_000, user, None, "x");
    let mut lane = Lane::new(PARTITION, small_rules());
    let mut out = Vec::new();
    let mut observe = |events: Vec<Event>, offset: u64| {
        for (index, event) in (offset..).zip(events) {
            lane.observe(Event { place: place(index), ..event }, &mut out);
        }
        lane.watermark()
    };
    assert_eq!(
        observe(vec![wild("eve"), shown(0, "ann", None, "x")], 0),
        EventTime::START,
        "the first is not believed"
    );
    assert_eq!(observe(vec![shown(1, "bob", None, "x")], 2), at(-19));
    assert_eq!(observe(vec![wild("eve"), wild("eve"), wild("eve")], 3), at(-19), "one user");
    assert_eq!(observe(vec![wild("eve"), shown(30, "bob", None, "x"), wild("ann"), wild("eve")], 6), at(10));
    assert_eq!(observe(vec![wild("eve")], 10), at(49_980), "three in a row");
    assert_eq!(lane.counters().jumps, 7);
}

#[test]
fn the_events_of_one_record_have_one_clock() {
    let mut lane = Lane::new(PARTITION, small_rules());
    let mut out = Vec::new();
    for (index, user) in (0..).zip(["ann", "bob", "eve", "zoe"]) {
        let place = Place { offset: Offset::from_count(5), index };
        lane.observe(Event { place, ..shown(0, user, None, "x") }, &mut out);
    }
    assert_eq!(lane.watermark(), EventTime::START);
}

#[test]
fn too_many_waiting_events_push_the_oldest_out_and_the_watermark_on() {
    let rules = SessionRules { max_waiting_events: 2, lateness: span(1_000), ..small_rules() };
    let mut lane = Lane::new(PARTITION, rules);
    let mut out = Vec::new();
    for event in numbered((0..5).map(|time| shown(time, "ann", None, "x")).collect()) {
        lane.observe(event, &mut out);
    }
    assert_eq!(lane.watermark(), at(2));
    assert_eq!((lane.counters().early_released, lane.counters().parked), (3, 2));
    lane.observe(Event { place: place(9), ..shown(1, "ann", None, "x") }, &mut out);
    assert_eq!(lane.counters().late, 1);
}

#[test]
fn rewards_stay_finite() {
    let events = vec![
        shown(0, "ann", None, "x"),
        clicked(1, "ann", None, "x", f64::MAX, false),
        clicked(2, "ann", None, "x", f64::MAX, false),
    ];
    let (trajectories, _) = run(&numbered(events), &small_rules());
    assert_eq!(trajectories[0].steps[0].reward, f64::MAX);
}

#[test]
fn a_state_that_does_not_add_up_is_refused() {
    let mut lane = Lane::new(PARTITION, small_rules());
    lane.observe(shown(0, "ann", None, "x"), &mut Vec::new());
    let mut state = lane.snapshot();
    state.counters.parked += 1;
    assert!(matches!(Lane::restore(state, small_rules()), Err(RestoreError::Imbalance { .. })));
    let mut state = lane.snapshot();
    (state.counters.parked, state.counters.applied) = (0, 1);
    assert!(matches!(Lane::restore(state, small_rules()), Err(RestoreError::Miscounted { .. })));
}

#[test]
fn feedback_by_item_goes_to_the_session_that_was_active_last() {
    let rules = SessionRules { reward_wait: span(1000), jump_max: span(10_000), ..small_rules() };
    let known = |time, id| interaction(time, "ann", None, None, Body::Decision(decision("x", Some(id))));
    let target = Target::Decision(Fingerprint(1));
    let late_click = Feedback { target, reward: 1.0, is_final: false };
    let events = vec![
        known(0, 1),
        known(150, 2),
        clicked(160, "ann", None, "x", 4.0, false),
        // The first session has ended; feedback makes it the active one again.
        interaction(170, "ann", None, None, Body::Feedback(late_click)),
        clicked(180, "ann", None, "x", 8.0, false),
        watermark(5000),
    ];
    let expected = [("ann".into(), Ending::Gap, 1000, 1, 9.0), ("ann".into(), Ending::Gap, 1150, 1, 4.0)];
    assert_eq!(endings(events, &rules), expected);
}
