#!/bin/sh
# Writes the custom resource definitions in this folder again, from the versions that gen/go.mod names.
set -eu
cd "$(dirname "$0")/gen"
rm -f ../*.fluxcd.io_*.yaml
GOWORK=off go run . ..
