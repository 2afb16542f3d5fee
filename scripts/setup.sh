#!/usr/bin/env bash
# The environment in .venv, exactly as locked in requirements.txt. Quick when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/.locked
lock_now=$(cksum < requirements.txt)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$lock_now" ]; then
  exit 0
fi

started=$SECONDS
python=""
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
  if command -v "$candidate" >/dev/null 2>&1 &&
    "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup: needs Python 3.11, 3.12 or 3.13, none found. Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
  exit 1
fi

echo "setup: 1/3 environment in .venv with $("$python" --version)"
[ -x .venv/bin/python ] || "$python" -m venv .venv || {
  echo "setup: '$python -m venv' failed. On Debian: apt-get install python3-venv" >&2
  exit 1
}
echo "setup: 2/3 installer (uv)"
uv_version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.txt)
[ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
echo "setup: 3/3 $(grep -cE '^[a-z0-9]' requirements.txt) locked packages"
.venv/bin/uv pip sync --quiet --require-hashes --python .venv/bin/python requirements.txt
echo "$lock_now" > "$stamp"
echo "setup: done in $((SECONDS - started)) s"
