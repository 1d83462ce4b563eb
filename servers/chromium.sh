#!/bin/sh
# Chromium, for the tests of what the gateway serves to browsers.
#   servers/chromium.sh path      print where the program is; as root, with apt-get, install it if it is missing
# CHROMIUM: the program to use, wherever it is.
set -eu
[ "${1:-}" = path ] || { echo "usage: servers/chromium.sh path" >&2; exit 2; }
find_it() { command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome; }
if ! find_it >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium" >&2
    { apt-get update && apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 || :
fi
find_it || {
    echo "servers/chromium.sh: chromium is needed on the PATH, or named by CHROMIUM (Debian: apt-get install chromium)" >&2
    exit 1
}
