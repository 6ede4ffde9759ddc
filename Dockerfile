# One image a program: nothing but a static binary, built before (make images),
# that runs as a user without a name or rights.
FROM scratch
ARG BINARY
COPY dist/${BINARY} /sluice
COPY deploy/images/tmp /tmp
USER 65532:65532
ENTRYPOINT ["/sluice"]
