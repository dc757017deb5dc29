//! What the fuzzers under `fuzz/` throw at every door through which strangers' bytes come in, and what must hold there.
//!
//! Each body is a plain function, so that the committed seeds, and a few hundred variations of each, run with the other
//! tests and without a nightly compiler. Compiled for tests and for fuzzing only.

mod serving;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::assemble::{Lane, SessionRules, oracle};
use crate::checkpoint::modelled::ModelledDisk;
use crate::checkpoint::{Disk, read_checkpoint, read_newest};
use crate::decode::agreement::reads_quickly;
use crate::decode::{Decoded, Decoder, Mapping};
use crate::event::{Body, Decision, Event, EventKind, Feedback, Fingerprint, Id, Interaction, Target};
use crate::pipeline::Intake;
use crate::position::{Offset, Partition, Place};
use crate::runtime::decode_state;
use crate::settings::{self, Sources};
use crate::source::range::Boundary;
use crate::time::{EventTime, Span};

pub use serving::{http, questions};

/// The name of a fuzz target, and what it runs.
pub type Door = (&'static str, fn(&[u8]));

pub const TARGETS: &[Door] = &[
    ("decode", decode),
    ("mapping", mapping),
    ("settings", read_settings),
    ("checkpoint", checkpoint),
    ("range", range),
    ("lanes", lanes),
    ("http", http),
    ("questions", questions),
];

fn native() -> &'static Decoder {
    static NATIVE: OnceLock<Decoder> = OnceLock::new();
    NATIVE.get_or_init(|| {
        let mapping = Mapping { context_dimension: Some(2), ..Mapping::default() };
        Decoder::new(&mapping).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Any bytes are a record: they get a verdict, and what is read as a fact is a document for every JSON parser.
pub fn decode(data: &[u8]) {
    check_verdict(native(), data);
}

/// A mapping that somebody wrote, a line `---`, and a record read by it.
pub fn mapping(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (written, record) = text.split_once("\n---\n").unwrap_or((text, "{}"));
    let Ok(mapping) = toml::from_str::<Mapping>(written) else { return };
    if let Ok(decoder) = Decoder::new(&mapping) {
        check_verdict(&decoder, record.as_bytes());
    }
}

fn check_verdict(decoder: &Decoder, record: &[u8]) {
    let offset = Offset::from_count(7);
    let read = || {
        let mut events = Vec::new();
        let verdict = decoder.decode(offset, Some(1_767_225_600_000), Some(record), &mut events);
        (verdict, events)
    };
    let (verdict, events) = read();
    match &verdict {
        Ok(Decoded::Events(count)) => assert_eq!(events.len(), *count),
        Ok(Decoded::Ignored | Decoded::Tombstone) | Err(_) => assert!(events.is_empty()),
    }
    if verdict.is_ok() {
        assert!(
            serde_json::from_slice::<serde_json::Value>(record).is_ok(),
            "a parser refuses what was read as a fact"
        );
    }
    assert_eq!(read(), (verdict, events), "the same bytes were read twice and differently");
    if let Ok(text) = std::str::from_utf8(record) {
        reads_quickly(decoder, text);
    }
    decoder.key(None, Some(record));
    decoder.explain(offset, None, Some(record));
}

/// A settings file: read or refused with words, and what is read can be shown and read again.
pub fn read_settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let of = |text: &str| Sources { file: Some((PathBuf::from("fuzz.toml"), text.to_owned())), ..Sources::default() };
    let sources = of(text);
    match settings::read(&sources) {
        Ok(read) => {
            assert!(settings::show(&sources).is_ok(), "what can be read can be shown");
            let again = settings::read(&sources).map(|again| again.structural_digest());
            assert_eq!(again.ok(), Some(read.structural_digest()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Four files of a checkpoint and, once more, the bytes as a state: loaded or refused.
pub fn checkpoint(data: &[u8]) {
    let disk = ModelledDisk::new();
    let directory = Path::new("/state/checkpoint-1");
    for folder in [Path::new("/state"), directory] {
        assert!(disk.create_directory(folder).is_ok());
    }
    let mut rest = data;
    for name in ["manifest.json", "policy", "optimizer", "state"] {
        let length = rest.first().map_or(0, |first| usize::from(*first) * 8).min(rest.len().saturating_sub(1));
        let content = rest.get(1..=length).unwrap_or_default();
        rest = rest.get(1 + length..).unwrap_or_default();
        let written = disk.create(&directory.join(name)).and_then(|mut file| file.write(content));
        assert!(written.is_ok());
    }
    // Nothing here can be intact: no fuzzer finds a checksum.
    assert!(read_newest(&disk, Path::new("/state")).is_err());
    assert!(read_checkpoint(&disk, directory).is_err());
    if let Ok((content, _)) = decode_state(data) {
        for (partition, intake) in content.intakes {
            let decoder = Arc::new(native().clone());
            let _ = Intake::restore(partition, intake, decoder, SessionRules::default());
        }
    }
}

/// `--from` and `--until`: what is understood is printed in a form that means the same.
pub fn range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(boundary) = text.parse::<Boundary>() {
        assert_eq!(boundary.to_string().parse::<Boundary>().ok(), Some(boundary), "{text:?}");
    }
}

/// Events made of the bytes, through a lane and through the oracle.
pub fn lanes(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut byte = || bytes.next().map(i64::from);
    let mut rule = || byte().unwrap_or_default();
    let span = |millis: i64| Span::from_millis(millis as u32);
    let rules = SessionRules {
        gap: span(1 + rule()),
        max_steps: 1 + rule() as u32 % 6,
        max_duration: span(1 + 2 * rule()),
        reward_wait: span(rule()),
        lateness: span(rule() % 64),
        jump_max: span(1 + 4 * rule()),
        max_waiting_events: 1 + rule() as u64 * 4,
        max_open: 1 + rule() as u64,
        max_bytes: 1 << 30,
    };
    let (mut events, mut now, mut place) = (Vec::new(), 1_700_000_000_000_i64, (0, 0));
    while let (Some(step), Some(back), Some(who), Some(what)) = (byte(), byte(), byte(), byte()) {
        now += if step < 240 { step % 16 } else { 4 * step };
        // A fan-out: another event of the same record.
        place = if who & 0x80 == 0 { (place.0 + 1, 0) } else { (place.0, place.1 + 1) };
        let back = if back < 230 { back % 64 } else { -8 * back };
        let Some(time) = EventTime::new(now - back) else { continue };
        let place = Place { offset: Offset::from_count(place.0), index: place.1 };
        events.push(Event { place, time, kind: kind_of(who, what) });
        if events.len() >= 200 {
            break;
        }
    }
    let partition = Partition(3);
    let (mut lane, mut out) = (Lane::new(partition, rules), Vec::new());
    for event in &events {
        lane.observe(event.clone(), &mut out);
        assert_eq!(lane.counters().check_conservation(), Ok(()));
    }
    lane.finish(&mut out);
    let (expected, counters) = oracle::expect(partition, &events, &rules);
    assert_eq!(out, expected);
    assert_eq!(*lane.counters(), counters);
}

fn kind_of(who: i64, what: i64) -> EventKind {
    let item: Id = ["x", "y"][(what & 1) as usize].into();
    let number = (what >> 1 & 3) as u128;
    let reward = (what >> 3 & 3) as f64 / 4.0;
    let body = match what >> 5 {
        0..=2 => Body::Decision(Decision {
            id: (number > 0).then_some(Fingerprint(number)),
            item,
            embedding: None,
            context: [1.0].into(),
            candidates: None,
            propensity: None,
            position: None,
            reward,
        }),
        3 | 4 => Body::Feedback(Feedback { target: Target::LatestItem(item), reward, is_final: number == 3 }),
        5 => Body::Feedback(Feedback { target: Target::Decision(Fingerprint(number)), reward, is_final: false }),
        6 => Body::SessionEnd,
        _ => return EventKind::Watermark,
    };
    EventKind::Interaction(Box::new(Interaction {
        id: (who & 0x40 != 0).then_some(Fingerprint((who >> 3 & 7) as u128)),
        user: ["ann", "bob"][(who & 1) as usize].into(),
        session: [None, Some("s"), Some("t"), None][(who >> 1 & 3) as usize].map(Into::into),
        body,
    }))
}

/// The committed seeds of a target, by name.
pub fn seeds(target: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    const VARIATIONS: u64 = 300;

    #[test]
    fn a_short_round_over_the_seeds_of_every_fuzzer() {
        for (target, body) in TARGETS {
            let seeds = seeds(target);
            assert!(!seeds.is_empty(), "no seeds for {target} in fuzz/seeds");
            for (path, seed) in seeds {
                body(&seed);
                for variation in 0..VARIATIONS {
                    let mut random = Xoshiro256PlusPlus::seed_from_u64(variation);
                    let bytes = vary(&seed, &mut random);
                    let outcome = std::panic::catch_unwind(|| body(&bytes));
                    assert!(outcome.is_ok(), "{target}, variation {variation} of {}", path.display());
                }
            }
        }
    }

    fn vary(seed: &[u8], random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..random.random_range(1..5) {
            let at = random.random_range(0..=bytes.len());
            match random.random_range(0..5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at, random.random()),
                3 => bytes.truncate(at),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    }
}
