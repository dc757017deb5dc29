# The commands that the README names.

.PHONY: test kafka fmt lint mutants

# Everything, against a real Apache Kafka that this fetches once.
test: kafka
	cargo test --release

kafka:
	@tests/kafka/fetch.sh >/dev/null

fmt:
	cargo fmt --check

lint:
	cargo clippy --release --all-targets -- -D warnings

# Takes the promises away one at a time and demands that a test fails; NAMES="part-of-a-name ..." for some of them.
mutants:
	tests/mutants/run.sh $(NAMES)
