# The commands that the README names.

.PHONY: test kafka fmt lint

# Everything, against a real Apache Kafka that this fetches once.
test: kafka
	cargo test --release

kafka:
	@tests/kafka/fetch.sh >/dev/null

fmt:
	cargo fmt --check

lint:
	cargo clippy --release --all-targets -- -D warnings
