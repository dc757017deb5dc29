//! The order does not depend on who came first, and back-pressure by the gauges ends well.

use proptest::prelude::*;

use super::*;
use crate::assemble::{Lane, SessionRules};
use crate::event::{Body, Decision, Event, EventKind, Interaction};
use crate::position::{Offset, Place};
use crate::trajectory::{ClosingKey, Ending, Step, Steps};

fn at(millis: i64) -> EventTime {
    EventTime::new(1_700_000_000_000 + millis).unwrap()
}

fn place(offset: u64) -> Place {
    Place { offset: Offset::from_count(offset), index: 0 }
}

fn decision() -> Decision {
    Decision {
        id: None,
        item: "x".into(),
        embedding: None,
        context: [].into(),
        candidates: None,
        propensity: None,
        position: None,
        reward: 0.0,
    }
}

fn shown(offset: u64, time: i64, user: &str) -> Event {
    let interaction = Interaction { id: None, user: user.into(), session: None, body: Body::Decision(decision()) };
    Event { place: place(offset), time: at(time), kind: EventKind::Interaction(Box::new(interaction)) }
}

fn trajectory(partition: u32, time: i64, sequence: u64) -> Trajectory {
    Trajectory {
        key: ClosingKey { time: at(time), partition: Partition(partition), sequence },
        user: "ann".into(),
        session: None,
        ending: Ending::Gap,
        ended_at: at(time),
        first: place(0),
        last: place(0),
        steps: Steps::from_iter([Step { time: at(time), place: place(0), decision: decision(), reward: 0.0 }]),
    }
}

fn drain(merge: &mut Merge) -> Vec<(i64, ClosingKey)> {
    std::iter::from_fn(|| merge.next())
        .map(|merged| (merged.at.millis() - at(0).millis(), merged.trajectory.key))
        .collect()
}

/// Events of each partition in log order, of a few users each.
fn any_lanes() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let lane = proptest::collection::vec((0i64..30, 0i64..25, 0u8..4), 0..60);
    proptest::collection::vec(lane, 1..5).prop_map(|lanes| {
        let events = |lane: Vec<(i64, i64, u8)>| {
            let mut now = 100;
            let event = |(offset, (step, back, user)): (u64, (i64, i64, u8))| {
                now += step;
                shown(offset, now - back, &format!("user {user}"))
            };
            (0..).zip(lane).map(event).collect()
        };
        lanes.into_iter().map(events).collect()
    })
}

fn rules() -> SessionRules {
    let span = Span::from_millis;
    SessionRules { gap: span(50), max_steps: 5, reward_wait: span(40), lateness: span(20), ..SessionRules::default() }
}

/// Lanes and a merge as the runtime joins them.
struct World {
    lanes: Vec<(Lane, std::vec::IntoIter<Event>, bool)>,
    merge: Merge,
    merged: Vec<Merged>,
}

impl World {
    fn new(partitions: &[Vec<Event>]) -> World {
        let lane = |(number, events): (u32, &Vec<Event>)| {
            (Lane::new(Partition(number), rules()), events.clone().into_iter(), false)
        };
        let lanes: Vec<_> = (0..).zip(partitions).map(lane).collect();
        let merge = Merge::new(lanes.iter().map(|(lane, _, _)| lane.partition()));
        World { lanes, merge, merged: Vec::new() }
    }

    /// One more event of a partition, or its end. False if it has ended already.
    fn advance(&mut self, partition: usize) -> bool {
        let (lane, events, has_ended) = &mut self.lanes[partition];
        if *has_ended {
            return false;
        }
        let mut out = Vec::new();
        match events.next() {
            Some(event) => lane.observe(event, &mut out),
            None => {
                lane.finish(&mut out);
                *has_ended = true;
            }
        }
        out.into_iter().for_each(|trajectory| self.merge.offer(trajectory).unwrap());
        if *has_ended {
            self.merge.end(lane.partition()).unwrap();
        } else {
            self.merge.watermark(lane.partition(), lane.watermark()).unwrap();
        }
        true
    }

    fn drain(&mut self) {
        while let Some(merged) = self.merge.next() {
            self.merged.push(merged);
        }
    }

    fn is_done(&self) -> bool {
        self.lanes.iter().all(|(_, _, has_ended)| *has_ended)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_interleaving_gives_the_one_order(
        lanes in any_lanes(), turns in proptest::collection::vec((0usize..8, any::<bool>(), 0u8..20), 0..400),
    ) {
        let mut world = World::new(&lanes);
        for (turn, drains, restart) in turns {
            world.advance(turn % lanes.len());
            if drains {
                world.drain();
            }
            if restart == 0 {
                let sealed = postcard::to_stdvec(&world.merge.snapshot()).unwrap();
                world.merge = Merge::restore(postcard::from_bytes(&sealed).unwrap());
                prop_assert_eq!(postcard::to_stdvec(&world.merge.snapshot()).unwrap(), sealed);
            }
        }
        while (0..lanes.len()).rev().any(|partition| world.advance(partition)) {}
        world.drain();
        // One partition after the other, and sorted: nothing of the merge in it.
        let mut expected = Vec::new();
        for (number, events) in (0..).zip(&lanes) {
            let mut lane = Lane::new(Partition(number), rules());
            events.iter().for_each(|event| lane.observe(event.clone(), &mut expected));
            lane.finish(&mut expected);
        }
        expected.sort_by_key(|trajectory| trajectory.key);
        prop_assert!(world.merged.iter().all(|merged| merged.at == merged.trajectory.key.time));
        let merged: Vec<_> = world.merged.into_iter().map(|merged| merged.trajectory).collect();
        prop_assert_eq!(merged, expected);
        prop_assert_eq!(world.merge.queued(), 0);
    }

    /// A partition sleeps at one place of the journal and wakes at another; around these, any interleaving.
    #[test]
    fn an_idle_partition_changes_the_order_only_by_its_journal(
        lanes in any_lanes(), sleep in 0usize..40, nap in 0usize..40, orders in proptest::collection::vec(any::<u64>(), 2),
    ) {
        let mut results = Vec::new();
        for order in orders {
            let mut world = World::new(&lanes);
            let mut seed = order;
            // Every partition makes `events` steps, in an order that the seed decides.
            let mut phase = |world: &mut World, partitions: std::ops::Range<usize>, events: usize| {
                let mut left: Vec<usize> = partitions.flat_map(|partition| vec![partition; events]).collect();
                while !left.is_empty() {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    world.advance(left.swap_remove((seed >> 33) as usize % left.len()));
                    if seed & (1 << 20) == 0 {
                        world.drain();
                    }
                }
                world.drain();
            };
            phase(&mut world, 0..lanes.len(), sleep);
            world.merge.set_idle(Partition(0)).unwrap();
            phase(&mut world, 1..lanes.len(), nap);
            world.merge.set_active(Partition(0)).unwrap();
            phase(&mut world, 0..lanes.len(), 100);
            prop_assert!(world.is_done() && world.merge.queued() == 0);
            prop_assert!(world.merged.is_sorted_by_key(|merged| merged.at));
            prop_assert!(world.merged.iter().all(|merged| merged.at >= merged.trajectory.key.time));
            results.push((world.merged, postcard::to_stdvec(&world.merge.snapshot()).unwrap()));
        }
        prop_assert_eq!(&results[0], &results[1]);
    }

    /// When a partition that has been read stands aside, and whether a restart forgets that it does, changes nothing; nor
    /// does the order in which all close at the end what they still have open, also when one of them is idle.
    #[test]
    fn partitions_that_have_been_read_stand_aside_at_any_time(
        lanes in any_lanes(), is_idle in any::<bool>(), orders in proptest::collection::vec(any::<u64>(), 2),
    ) {
        let mut results = Vec::new();
        for mut seed in orders {
            let mut choose = |possible: usize| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as usize % possible
            };
            let mut world = World::new(&lanes);
            // The decision's place: before the first record.
            if is_idle {
                world.merge.set_idle(Partition(lanes.len() as u32 - 1)).unwrap();
            }
            let speaking = lanes.len() - usize::from(is_idle);
            let mut left: Vec<usize> =
                (0..speaking).flat_map(|partition| vec![partition; lanes[partition].len() + 1]).collect();
            while !left.is_empty() {
                let partition = left.swap_remove(choose(left.len()));
                if left.contains(&partition) {
                    world.advance(partition);
                } else {
                    world.merge.stand_aside(Partition(partition as u32)).unwrap();
                }
                if choose(3) == 0 {
                    world.drain();
                }
                if choose(20) == 0 {
                    // Whoever stands aside is told so again.
                    world.merge = Merge::restore(world.merge.snapshot());
                    (0..speaking).filter(|partition| !left.contains(partition)).for_each(|partition| {
                        world.merge.stand_aside(Partition(partition as u32)).unwrap();
                    });
                }
            }
            world.drain();
            prop_assert_eq!(world.merge.queued(), 0, "nobody waits for those who stand aside");
            world.merge.rejoin();
            let mut finishing: Vec<usize> = (0..speaking).collect();
            while !finishing.is_empty() {
                world.advance(finishing.swap_remove(choose(finishing.len())));
                if choose(2) == 0 {
                    world.drain();
                }
            }
            if is_idle {
                let partition = lanes.len() - 1;
                while world.advance(partition) {}
            }
            world.drain();
            prop_assert_eq!(world.merge.queued(), 0);
            prop_assert!(world.merged.is_sorted_by_key(|merged| merged.at));
            results.push((world.merged, postcard::to_stdvec(&world.merge.snapshot()).unwrap()));
        }
        prop_assert_eq!(&results[0], &results[1]);
    }
}

#[test]
fn nothing_goes_while_something_earlier_may_come() {
    let mut merge = Merge::new([Partition(0), Partition(1)]);
    merge.offer(trajectory(1, 10, 0)).unwrap();
    assert_eq!(merge.next(), None);
    merge.watermark(Partition(0), at(10)).unwrap();
    assert_eq!(merge.next(), None, "partition 0 may still bring the same time, and goes first");
    merge.watermark(Partition(0), at(11)).unwrap();
    assert_eq!(drain(&mut merge).len(), 1);
    merge.offer(trajectory(0, 20, 0)).unwrap();
    merge.watermark(Partition(1), at(20)).unwrap();
    assert_eq!(drain(&mut merge).len(), 1, "partition 1 may bring the same time, but comes second");
}

#[test]
fn a_partition_that_returns_is_merged_at_the_frontier() {
    let mut merge = Merge::new([Partition(0), Partition(1)]);
    merge.set_idle(Partition(0)).unwrap();
    merge.offer(trajectory(1, 10, 0)).unwrap();
    assert_eq!(drain(&mut merge).len(), 1);
    merge.set_active(Partition(0)).unwrap();
    merge.offer(trajectory(0, 3, 0)).unwrap();
    merge.offer(trajectory(0, 12, 1)).unwrap();
    merge.watermark(Partition(0), at(15)).unwrap();
    merge.watermark(Partition(1), at(15)).unwrap();
    let keys = drain(&mut merge);
    assert_eq!(keys.iter().map(|(at, key)| (*at, key.time)).collect::<Vec<_>>(), [(10, at(3)), (12, at(12))]);
}

#[test]
fn an_ended_partition_holds_nobody_back_and_does_not_wake() {
    let mut merge = Merge::new([Partition(0), Partition(1)]);
    merge.end(Partition(0)).unwrap();
    merge.set_active(Partition(0)).unwrap();
    merge.offer(trajectory(1, 10, 0)).unwrap();
    assert_eq!(drain(&mut merge).len(), 1);
    assert_eq!(merge.end(Partition(7)), Err(UnknownPartition(Partition(7))));
}

#[test]
fn partitions_of_ten_to_one_neither_deadlock_nor_grow() {
    const QUEUED_MAX: usize = 20;
    // The same hour in both: one partition has ten events where the other has one.
    let stream = |len: u64, step: i64| {
        (0..len).map(|offset| shown(offset, 1000 + offset as i64 * step, &format!("user {}", offset % 7))).collect()
    };
    let lanes: Vec<Vec<Event>> = vec![stream(20_000, 18), stream(2_000, 180)];
    for polled in [1usize, 7, 500] {
        let mut world = World::new(&lanes);
        let (mut queued_most, mut rounds) = (0, 0);
        while !world.is_done() {
            rounds += 1;
            assert!(rounds < 200_000, "stuck with {} queued", world.merge.queued());
            for partition in 0..lanes.len() {
                for _ in 0..polled {
                    let gauge = world.merge.gauge(Partition(partition as u32));
                    if gauge.queued > QUEUED_MAX || gauge.lead > Span::from_millis(2_000) {
                        break;
                    }
                    world.advance(partition);
                    world.drain();
                }
                queued_most = queued_most.max(world.merge.queued());
            }
        }
        // The last event of a range may close all sessions of its partition at once.
        assert!(queued_most <= 2 * QUEUED_MAX, "{queued_most} queued");
        assert_eq!(world.merge.queued(), 0);
        assert!(world.merged.len() > 1_000);
    }
}
