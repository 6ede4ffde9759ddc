#!/usr/bin/env bash
# Checks the modules given as arguments one by one, without the workspace: each
# builds and vets alone, is formatted, and its go.mod is tidy; then that generated
# files are current.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off

failed=0
for module in "$@" tools deploy/crds/gen; do
  [ -f "$module/go.mod" ] || { echo "verify: $module has no go.mod"; failed=1; continue; }
  echo "verify: $module"
  (
    cd "$module"
    status=0
    unformatted="$(gofmt -l .)"
    [ -z "$unformatted" ] || { echo "not formatted (run gofmt -w): $unformatted"; status=1; }
    go build -o /dev/null ./... || status=1
    go vet ./... || status=1
    go mod tidy -diff || { echo "go.mod or go.sum is not tidy (run GOWORK=off go mod tidy)"; status=1; }
    if go list -m all | grep -E '^k8s\.io/(api|apimachinery|client-go|apiextensions-apiserver) v0\.' | grep -v ' v0\.36\.'; then
      echo "a Kubernetes library left the v0.36 line"; status=1
    fi
    exit "$status"
  ) || failed=1
done

echo "verify: generated files"
before="$(mktemp -d)"
trap 'rm -rf "$before"' EXIT
cp deploy/crds/*.yaml "$before/"
deploy/crds/generate.sh
for file in deploy/crds/*.yaml "$before"/*.yaml; do
  cmp -s "deploy/crds/${file##*/}" "$before/${file##*/}" ||
    { echo "generated file is not current (run make generate): deploy/crds/${file##*/}"; failed=1; }
done
exit "$failed"
