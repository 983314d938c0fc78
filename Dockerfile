# docker build -t moorgate .
# docker run -p 8443:8443 -v /etc/moorgate:/etc/moorgate:ro moorgate
#
# User 65532 must be able to read what is mounted, tls.key included. For metrics from outside the container set
# admin.addr to 0.0.0.0:9464, on a network that only the scraper is in.
#
# Both images can be replaced, by mirrors say. The builder needs Rust 1.95, a C compiler for aws-lc (with cmake too on
# anything but x86-64 and arm64) and a glibc no newer than the one of the base. The base needs glibc, libgcc_s, the
# system's certificates, and no more. podman and buildah keep the HEALTHCHECK with --format docker only.
ARG BUILDER=rust:1.95-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER} AS builder
WORKDIR /build
COPY . .
RUN cargo build --release --locked

FROM ${BASE}
COPY --from=builder /build/target/release/moorgate /usr/local/bin/moorgate
# By number, so that orchestrators can see that it is not root.
USER 65532:65532
EXPOSE 8443
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["moorgate", "healthcheck"]
ENTRYPOINT ["moorgate"]
CMD ["serve"]
