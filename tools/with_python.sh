#!/bin/sh
# Run a script with a Python this project supports: tools/with_python.sh SCRIPT [ARGUMENT ...]
#
# PYTHON names the interpreter; without it the first of the candidates that starts and is in range is
# taken. "Starts" is tried, not looked up: version managers put commands on the PATH that only fail.
# POSIX sh and not Python, because the sentence about a wrong Python must not need the right one.

supported="3.11, 3.12 or 3.13"

# Prints e.g. "3.12", or nothing when the command does not start.
version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

if [ -n "${PYTHON:-}" ]; then
    version=$(version_of "$PYTHON")
    case "$version" in
        3.11 | 3.12 | 3.13) exec "$PYTHON" "$@" ;;
        "") refuse "PYTHON=$PYTHON does not start; set PYTHON to a Python $supported, or unset it." ;;
        [012].* | 3.[0-9] | 3.10)
            refuse "PYTHON=$PYTHON is Python $version, which is too old; set PYTHON to a Python $supported." ;;
        *) refuse "PYTHON=$PYTHON is Python $version, which is too new; set PYTHON to a Python $supported." ;;
    esac
fi

found=""
for candidate in python3.11 python3.12 python3.13 python3; do
    version=$(version_of "$candidate")
    case "$version" in
        3.11 | 3.12 | 3.13)
            # Some systems ship Python without the parts that make environments: keep looking.
            if "$candidate" -c 'import ensurepip, venv' 2>/dev/null </dev/null; then
                exec "$candidate" "$@"
            fi
            found="$found $candidate ($version, without the venv module)" ;;
        "") ;;
        *) found="$found $candidate ($version)" ;;
    esac
done
refuse "no usable Python found${found:+, only$found}; install Python $supported with its venv module, or set PYTHON to one."
