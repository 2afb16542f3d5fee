#!/bin/sh
# require-env.sh NAME=REMEDY … -- COMMAND …
# Runs the command if every variable named is set; otherwise says which is missing and what to do, exit 2.
# (Compose cannot ask for them itself: the tokens are issued by the API that the same file starts.)
set -eu

missing=0
while [ "$#" -gt 0 ] && [ "$1" != "--" ]; do
  name=${1%%=*}
  remedy=${1#*=}
  if [ -z "$(printenv "$name" || true)" ]; then
    echo "require-env: $name is not set. $remedy" >&2
    missing=1
  fi
  shift
done
if [ "$#" -lt 2 ]; then
  echo "require-env: expected NAME=REMEDY ... -- COMMAND ..." >&2
  exit 2
fi
[ "$missing" = 0 ] || exit 2
shift
exec "$@"
