# podpace and nothing else: `docker build -t podpace . && docker run --rm -v "$PWD:/work" podpace run scenarios/kubemark-2021.yaml`
# It runs as a user without rights; what it is to write (`--out`) needs yours: `docker run --rm --user "$(id -u):$(id -g)" ..`
FROM rust:1.95-slim-bookworm AS build
# zstd's bindings are compiled from C.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release --package podpace && strip target/release/podpace

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/podpace /usr/local/bin/podpace
COPY --from=build /src/LICENSE-APACHE /src/LICENSE-MIT /usr/share/doc/podpace/
WORKDIR /work
ENTRYPOINT ["/usr/local/bin/podpace"]
