# docker build -t moorgate .
# docker run -p 8443:8443 -v /etc/moorgate:/etc/moorgate:ro moorgate
#
# User 65532 must be able to read the mounted files, including tls.key. To read metrics from outside
# the container, set admin.addr to 0.0.0.0:9464, on a network that only the scraper can reach.
#
# Both base images can be replaced, for example by mirrors. BUILDER needs Rust 1.95, a C compiler
# for aws-lc (on machines other than x86-64 and arm64 also cmake) and a glibc that is not newer than
# that of BASE. BASE needs only glibc, libgcc_s and the system's CA certificates. podman and buildah
# keep the HEALTHCHECK only with --format docker.
ARG BUILDER=rust:1.95-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER} AS builder
WORKDIR /build
COPY . .
RUN cargo build --release --locked

FROM ${BASE}
COPY --from=builder /build/target/release/moorgate /usr/local/bin/moorgate
# A numeric user, so that orchestrators can see that it is not root.
USER 65532:65532
EXPOSE 8443
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["moorgate", "healthcheck"]
ENTRYPOINT ["moorgate"]
CMD ["serve"]
