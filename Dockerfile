# syntax=docker/dockerfile:1

# Build: the Rust image has gcc, make and perl, which is all that librdkafka and OpenSSL want.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin sluicebox \
    && install -D target/release/sluicebox /out/sluicebox

FROM debian:bookworm-slim
# Certificates for brokers with TLS; nothing else is needed at run time.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 sluicebox \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin sluicebox \
    # Named volumes take over the owner of the directory that they cover.
    && install -d -o sluicebox -g sluicebox /var/lib/sluicebox /var/lib/sluicebox/state /var/lib/sluicebox/catalog
COPY --from=build /out/sluicebox /usr/local/bin/sluicebox
COPY configs /etc/sluicebox/configs
USER 10001:10001
WORKDIR /etc/sluicebox
EXPOSE 8077
# A graceful stop finishes what was read and seals; it is given a minute.
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluicebox"]
CMD ["--help"]
