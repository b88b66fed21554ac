# What the test scripts install; to be sourced.

# install NAME MISSING PACKAGE...: installs Debian packages for the script NAME, or says what is missing.
install() {
    local script="$1" missing="$2"
    shift 2
    if ! command -v apt-get > /dev/null; then
        echo "$script: no $missing. Install your distribution's packages of it (on Debian: $*)." >&2
        exit 1
    fi
    echo "$script: no $missing, installing Debian's packages of it"
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" > /dev/null
}

# install_mpi NAME: installs Open MPI and what its bindings are generated with, for the script NAME.
install_mpi() {
    if ! command -v mpicc > /dev/null || ! command -v mpirun > /dev/null; then
        install "$1" "Open MPI" libopenmpi-dev openmpi-bin libclang-dev
    fi
}
