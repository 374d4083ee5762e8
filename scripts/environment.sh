# Virtual environments for the scripts beside this file, which source it with ROOT set. POSIX sh.

LEAST=3.11

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

give_up() {
    echo "gateway: $1" >&2
    exit 1
}

# Set PYTHON to an interpreter that is new enough: the one that was named, or the first there is.
find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            PYTHON=$candidate
            return
        fi
    done
    give_up "Python $LEAST or newer is needed and was not found; install it, or name it: PYTHON=/path/to/python3 $0"
}

# environment DIRECTORY FILE...: a virtual environment in which the requirement files are installed, made or renewed
# only when that has to be.
environment() {
    directory=$1
    shift
    if ! "$directory/bin/python" -c 'import pip' 2>/dev/null; then
        find_python
        "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
            give_up "$PYTHON cannot make virtual environments; install its venv module (Debian, Ubuntu: apt-get install python3-venv)"
        echo "Making $directory with $PYTHON" >&2
        "$PYTHON" -m venv --clear "$directory" || give_up "$directory cannot be made"
    fi
    for file in "$@"; do
        stamp=$directory/.installed-$(echo "${file#"$ROOT"/}" | tr / -)
        if ! cmp -s "$file" "$stamp"; then
            echo "Installing ${file#"$ROOT"/}" >&2
            rm -f "$stamp"
            "$directory/bin/python" -m pip install --requirement "$file" >&2 ||
                give_up "the packages of ${file#"$ROOT"/} could not be installed; see above"
            cp "$file" "$stamp"
        fi
    done
}

# Heavy or quarrelsome parts of the suite live apart: tests/environments/NAME.txt is installed in .venv-NAME, all of them
# at once.
test_environments() {
    made='' failed=''
    for listed in "$ROOT"/tests/environments/*.txt; do
        environment "$ROOT/.venv-$(basename "$listed" .txt)" "$listed" &
        made="$made $!"
    done
    for each in $made; do
        wait "$each" || failed=1
    done
    [ -z "$failed" ]
}
