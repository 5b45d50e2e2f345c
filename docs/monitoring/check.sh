#!/usr/bin/env bash
# Checks alert and recording rules, and runs their unit tests, with promtool of
# Debian's package prometheus. --where only prints where promtool is.
#
# It is taken from PROMTOOL, from PATH, or from a cache; else the package is
# downloaded and unpacked into the cache. Nothing is installed and no service is
# started.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/marketprism/promtool

find_tool() {
  local t
  for t in "${PROMTOOL:-}" "$(command -v promtool || true)" "$cache/usr/bin/promtool"; do
    if [ -n "$t" ] && [ -x "$t" ] && "$t" --version >/dev/null 2>&1; then
      echo "$t"
      return 0
    fi
  done
  return 1
}

fetch() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "check.sh: no promtool, and no apt-get to fetch it with; set PROMTOOL" >&2; return 1; }
  local dir
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' RETURN
  if ! (cd "$dir" && timeout 120 apt-get download prometheus) >"$dir/log" 2>&1; then
    # The lists may be missing or old; only root can renew them.
    local as=()
    [ "$(id -u)" = 0 ] || as=(sudo -n)
    timeout 120 "${as[@]}" apt-get update >>"$dir/log" 2>&1 || true
    (cd "$dir" && timeout 120 apt-get download prometheus) >>"$dir/log" 2>&1 || { tail -n 3 "$dir/log" >&2; echo "check.sh: no promtool, and the package prometheus can't be fetched" >&2; return 1; }
  fi
  # Whole or not at all: two may do this at once.
  mkdir -p "$(dirname "$cache")"
  dpkg-deb -x "$dir"/prometheus_*.deb "$dir/root"
  rm -rf "$cache" 2>/dev/null || true
  mv -T "$dir/root" "$cache" 2>/dev/null || true
}

tool=$(find_tool) || { fetch && tool=$(find_tool); } || exit 1
if [ "${1:-}" = --where ]; then
  echo "$tool"
  exit 0
fi
cd "$here"
"$tool" check rules alerts.yml recording.yml
"$tool" test rules tests/*.yml
