# One image a program: nothing but a static binary, built before (make images), the
# certificate authorities of the building machine, and two folders of a user
# without a name or rights.
FROM scratch
ARG BINARY
COPY --chown=65532:65532 dist/root/ /
COPY dist/${BINARY} /sluice
USER 65532:65532
ENTRYPOINT ["/sluice"]
