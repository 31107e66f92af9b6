# Sourced by ./test: finds or installs the tools that the tests need.

step() { printf '\n==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Installs packages of Debian, or says how.
install() {
    [ $# -eq 0 ] && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        step "installing $*"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    else
        die "missing: $* (as root: apt-get install $*)"
    fi
}

# What .ci/run needs beyond the tests: valgrind counts instructions, the fuzzer's runtime is C++.
need_ci_tools() {
    local missing=()
    command -v valgrind >/dev/null || missing+=(valgrind)
    command -v c++ >/dev/null || missing+=(g++)
    install "${missing[@]}"
}

# A C toolchain to link with, a CPython with venv, the nginx that tests put before the server, and logrotate. As root on
# Debian what is missing is installed.
need_tools() {
    local missing=()
    command -v cargo >/dev/null || die "cargo is missing: install Rust 1.90 or later (https://rustup.rs)"
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    # The file in conf/ is tested with the program that reads it.
    PATH=$PATH:/usr/sbin command -v logrotate >/dev/null || missing+=(logrotate)
    python=$(find_python) || missing+=(python3 python3-venv)
    # Not in the path of users who are not root.
    PATH=$PATH:/usr/sbin command -v nginx >/dev/null || missing+=(nginx)
    install "${missing[@]}"
    [ -n "$python" ] || python=$(find_python) || die "no CPython 3.10 or later with venv, even after installing ${missing[*]}"
}

# The first CPython that is new enough and can make a virtual environment.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        [ -n "$candidate" ] || continue
        if "$candidate" - 2>/dev/null <<'CHECK'
import sys, venv, ensurepip
good = sys.implementation.name == "cpython" and sys.version_info >= (3, 10)
sys.exit(not good)
CHECK
        then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
        [ "$candidate" != "${PYTHON:-}" ] || die "$PYTHON is no CPython 3.10 or later with venv"
    done
    return 1
}

# .venv with exactly what tests/requirements.txt names; made anew when that file or the interpreter has changed.
make_venv() {
    local stamp=.venv/made-from wanted
    wanted="$("$python" --version) $(sha256sum <tests/requirements.txt)"
    if [ ! -x .venv/bin/python ] || [ "$(cat $stamp 2>/dev/null)" != "$wanted" ]; then
        step "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
        .venv/bin/python -m pip install --quiet --requirement tests/requirements.txt
        printf '%s' "$wanted" >$stamp
    fi
}
