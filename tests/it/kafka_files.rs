//! A file and the topic that was loaded from it are the same log.

use std::borrow::Cow;
use std::fs;
use std::io::Write;
use std::path::Path;

use sluicebox::files::{FileSource, LineKey};
use sluicebox::position::Partition;
use sluicebox::source::Source;
use sluicebox::source::range::{Boundary, resolve};
use sluicebox::time::EventTime;

use crate::broker::{shared, unique};
use crate::kafka_producer::{everything, load};
use crate::topics;

/// Reads `{"user": .., "ts": ..}`; other lines have neither.
pub fn key_of(line: &[u8]) -> LineKey<'_> {
    let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    let user = value["user"].as_str().map(|user| Cow::Owned(user.as_bytes().to_vec()));
    LineKey { user, time: value["ts"].as_i64().and_then(EventTime::new) }
}

/// Lines of 17 users in no order of time, with rubbish, an empty line, a record of nobody and other line ends between.
pub fn lines(count: u64) -> String {
    let mut text = String::new();
    for n in 0..count {
        let time = 1_700_000_000_000 + (n * 7919) % 1000 * 1000;
        text += &match n % 20 {
            0 | 7 => "this is not JSON\n".to_owned(),
            9 => format!("\n{{\"ts\":{time}}}\n"),
            11 => format!("{{\"user\":\"u{}\"}}\r\n", n % 17),
            _ => format!("{{\"user\":\"u{}\",\"ts\":{time},\"n\":{n}}}\n", n % 17),
        };
    }
    text
}

fn open(file: &Path, spool: &Path) -> FileSource {
    FileSource::open(file, spool, (4, [1; 32]), &key_of, &mut |_| ()).unwrap()
}

#[test]
fn a_file_and_the_topic_loaded_from_it_are_the_same_log() {
    let directory = tempfile::tempdir().unwrap();
    let (file, topic) = (directory.path().join("lines"), unique("same"));
    // The last line has no newline.
    fs::write(&file, lines(5000).trim_end()).unwrap();
    let report = load(&topic, &file, false).unwrap();
    let mut from_file = open(&file, &directory.path().join("spool"));
    let mut from_topic = topics::open(&shared().bootstrap(), &topic);
    assert_eq!(report.records, 5000);
    assert_eq!(from_file.records(), 5000);
    assert_eq!(everything(&mut from_file), everything(&mut from_topic));
    for boundary in
        ["earliest", "latest", "ts=1700000500500", "ts=1", "offset=700", "offset=0:9,1:8,2:7,3:6", "last=2m"]
    {
        let boundary: Boundary = boundary.parse().unwrap();
        let resolved = |source: &mut dyn Source| resolve(source, &boundary, Some(&Boundary::Latest)).unwrap();
        assert_eq!(resolved(&mut from_file), resolved(&mut from_topic), "{boundary}");
    }
    for partition in (0..4).map(Partition) {
        let end = from_file.known_ends()[&partition].raw();
        let last = sluicebox::position::Offset::from_count(end - 1);
        assert_eq!(from_file.fetch_one(partition, last).unwrap(), from_topic.fetch_one(partition, last).unwrap());
    }
}

#[test]
fn compressed_files_load_like_plain_ones() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    fs::write(&plain, lines(300)).unwrap();
    let expected = everything(&mut open(&plain, &directory.path().join("spool")));
    // The names lie on purpose.
    let gzip = directory.path().join("lines.zst");
    let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&gzip).unwrap(), flate2::Compression::fast());
    encoder.write_all(lines(300).as_bytes()).unwrap();
    encoder.finish().unwrap();
    let zstd = directory.path().join("lines.gz");
    fs::write(&zstd, zstd::encode_all(lines(300).as_bytes(), 1).unwrap()).unwrap();
    for file in [gzip, zstd] {
        let topic = unique("compressed");
        load(&topic, &file, false).unwrap();
        assert_eq!(everything(&mut topics::open(&shared().bootstrap(), &topic)), expected, "{}", file.display());
    }
}
