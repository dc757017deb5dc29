//! Time to decode one record: a decision with 64 context features, and a feedback.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluicebox::decode::{Decoder, Mapping};
use sluicebox::position::Offset;

fn decoding(criterion: &mut Criterion) {
    let mapping = Mapping { context_dimension: Some(64), ..Mapping::default() };
    let Ok(decoder) = Decoder::new(&mapping) else { return };
    let context: Vec<String> =
        (0..64).map(|index| format!("{:.5}", f64::from(index * 37 % 101) / 50.0 - 1.0)).collect();
    let decision = format!(
        r#"{{"type":"decision","ts":1767225600000,"user":"u-000150","session":"s-000150","event_id":"s-000150-00017","decision_id":"d-000150-00017","item":"item-18","context":[{}],"propensity":0.07232664,"policy_version":7}}"#,
        context.join(",")
    );
    let feedback = r#"{"type":"feedback","ts":1767225601000,"user":"u-000150","session":"s-000150","event_id":"s-000150-00018","decision_id":"d-000150-00017","kind":"click"}"#;
    let mut group = criterion.benchmark_group("decode");
    for (name, document) in [("decision with 64 features", decision.as_str()), ("feedback", feedback)] {
        group.throughput(Throughput::Bytes(document.len() as u64));
        group.bench_function(name, |bencher| {
            let mut events = Vec::with_capacity(1);
            bencher.iter(|| {
                events.clear();
                decoder.decode(Offset::from_count(1), None, Some(black_box(document.as_bytes())), &mut events)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
