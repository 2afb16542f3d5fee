#!/usr/bin/env bash
# The Debian programs that the tests run for real. Installed when root under CI=true; otherwise the
# line to run is printed and the tests that need a missing program skip, saying so.
set -euo pipefail

missing=()
need() { # program, Debian package
  command -v "$1" >/dev/null 2>&1 || [ -x "/usr/lib/postgresql/15/bin/$1" ] || missing+=("$2")
}
need initdb postgresql
need promtool prometheus
need amtool prometheus-alertmanager
need chromium chromium
fc-list 2>/dev/null | grep -qi 'CJK' || missing+=(fontconfig fonts-noto-cjk)

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ]; then
  echo "tools: installing ${missing[*]}"
  apt-get update -qq
  # No service is wanted: tests start their own.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' > $policy && chmod +x $policy
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
else
  echo "tools: some tests will skip; for all of them: sudo apt-get install ${missing[*]}"
fi
