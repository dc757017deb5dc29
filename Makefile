# The commands that the README names.

.PHONY: test kafka python fmt lint mutants soak fuzz

# Everything, against a real Apache Kafka that this fetches once.
test: kafka python
	cargo test --release

kafka:
	@tests/kafka/fetch.sh >/dev/null

# A Python with numpy under target/, for the test of examples/recommend.py, and with what tests/compose.py needs.
python:
	@tests/python/venv.sh >/dev/null

fmt:
	cargo fmt --check

lint:
	cargo clippy --release --all-targets -- -D warnings

# Takes the promises away one at a time and demands that a test fails; NAMES="part-of-a-name ..." for some of them.
mutants:
	tests/mutants/run.sh $(NAMES)

# Attacks a learner on a real Kafka, then compares it with a quiet one: `make soak MINUTES=20 SEED=1`.
MINUTES ?= 20
SEED ?= 1
soak: kafka
	cargo build --release
	tests/soak/soak.py --minutes $(MINUTES) --seed $(SEED)

# One fuzzer for ten minutes, from the committed seeds: `make fuzz TARGET=decode` (the names are those of fuzz/targets).
TARGET ?= decode
fuzz:
	mkdir -p fuzz/corpus/$(TARGET)
	RUSTC_WRAPPER=$(CURDIR)/fuzz/instrument.sh cargo build --release --manifest-path fuzz/Cargo.toml --bin $(TARGET)
	fuzz/target/release/$(TARGET) -max_total_time=600 fuzz/corpus/$(TARGET) fuzz/seeds/$(TARGET)
