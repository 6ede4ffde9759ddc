#!/usr/bin/env bash
# Runs golangci-lint and govulncheck, at the versions that tools/go.mod names, over
# the modules given as arguments.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p bin
echo "lint: building golangci-lint and govulncheck from tools/go.mod (minutes, once; then cached)"
for tool in github.com/golangci/golangci-lint/v2/cmd/golangci-lint golang.org/x/vuln/cmd/govulncheck; do
  (cd tools && GOWORK=off go build -o "../bin/${tool##*/}" "$tool")
done

failed=0
for module in "$@"; do
  echo "lint: $module"
  (cd "$module" && "$OLDPWD/bin/golangci-lint" run --config "$OLDPWD/.golangci.yml" ./...) || failed=1
done

# govulncheck needs its database, which it fetches. Without a network that reaches it
# there is nothing to compare with; every other failure is a failure.
vuln_log="$(mktemp)"
trap 'rm -f "$vuln_log"' EXIT
for module in "$@"; do
  echo "vulnerabilities: $module"
  if (cd "$module" && "$OLDPWD/bin/govulncheck" ./...) >"$vuln_log" 2>&1; then
    tail -n 1 "$vuln_log"
  elif grep -qE '(vuln\.go\.dev|fetching vulnerabilities).*(dial tcp|no such host|i/o timeout|connection refused|proxyconnect|Forbidden|TLS handshake|403|50[234])' "$vuln_log"; then
    echo "*****************************************************************************"
    echo "NOT CHECKED for known vulnerabilities: the database cannot be reached from here."
    sed 's/^/  /' "$vuln_log" | head -n 5
    echo "Run 'make lint' where it can be reached, or set GOVULNDB to a mirror."
    echo "*****************************************************************************"
    break
  else
    cat "$vuln_log"
    failed=1
  fi
done
exit "$failed"
