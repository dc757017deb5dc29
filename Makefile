# The commands that the README names.

.PHONY: test kafka fmt lint soak

# Everything, against a real Apache Kafka that this fetches once.
test: kafka
	cargo test --release

kafka:
	@tests/kafka/fetch.sh >/dev/null

fmt:
	cargo fmt --check

lint:
	cargo clippy --release --all-targets -- -D warnings

# Attacks a learner on a real Kafka, then compares it with a quiet one: `make soak MINUTES=20 SEED=1`.
MINUTES ?= 20
SEED ?= 1
soak: kafka
	cargo build --release
	tests/soak/soak.py --minutes $(MINUTES) --seed $(SEED)
