# Boots a Debian in a container (systemd-nspawn) and runs a script there as root. For the checks that
# source this file, from the top of the tree. They need root, debootstrap and systemd-container. The
# Debian is made once, below target/shipping.

debian=${CARGO_TARGET_DIR:-target}/shipping/debian
# What it has beside the packages that debootstrap installs.
programs=(docker-registry skopeo rpm)
folder=$(mktemp -d)
for tool in debootstrap systemd-nspawn openssl; do
    command -v "$tool" > "$folder/nothing" || { echo "missing: $tool (debootstrap, systemd-container, openssl)" >&2; exit 1; }
done
trap 'rm -rf "$folder"' EXIT

# boot SCRIPT SECONDS [ARGUMENTS of systemd-nspawn]: runs the script. What it needs lies in $folder,
# which it sees as /shared. The last line of a script that goes well is "all as wanted".
boot() {
    local script=$1 seconds=$2
    shift 2
    [ "$(cat "$debian.done" 2> "$folder/nothing")" = "${programs[*]}" ] || make_debian
    cp "$script" "$folder/check"
    cat > "$folder/check.service" <<'UNIT'
[Unit]
Requires=sysinit.target basic.target
After=sysinit.target basic.target
AllowIsolate=yes
[Service]
Type=oneshot
ExecStart=/bin/bash /shared/check
StandardOutput=file:/shared/said
StandardError=inherit
ExecStopPost=systemctl poweroff --force
UNIT
    # The container has no network but its own loopback, and keeps nothing.
    timeout "$seconds" systemd-nspawn --quiet --register=no --keep-unit --directory="$debian" --volatile=overlay \
        --private-network --boot --bind="$folder:/shared" \
        --bind-ro="$folder/check.service:/etc/systemd/system/check.service" "$@" \
        systemd.unit=check.service > "$folder/console" 2>&1 < /dev/null || true
    cat "$folder/said" 2> "$folder/nothing" || tail -50 "$folder/console"
    grep -qx 'all as wanted' "$folder/said" 2> "$folder/nothing"
}

make_debian() {
    rm -rf "$debian"
    # It need not outlast a power failure, so dpkg waits for no disk.
    mkdir -p "$debian/etc/dpkg/dpkg.cfg.d"
    echo force-unsafe-io > "$debian/etc/dpkg/dpkg.cfg.d/unsafe-io"
    # The release of this machine, because the binary needs its glibc.
    if ! {
        debootstrap --variant=minbase \
            --include=systemd,systemd-sysv,logrotate,curl,procps,ca-certificates,openssl,man-db,bash-completion,python3 \
            "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$debian" &&
            RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
                chroot "$debian" apt-get install -y -qq --no-install-recommends "${programs[@]}"
    } > "$debian.log" 2>&1; then
        tail "$debian.log"
        exit 1
    fi
    echo "${programs[*]}" > "$debian.done"
}

# Prints the arguments that bind the binary and config/systemd where a package puts them.
installed() {
    local moorgate unit
    moorgate=$(realpath "${MOORGATE:-target/release/moorgate}")
    echo "--bind-ro=$moorgate:/usr/bin/moorgate"
    for unit in config/systemd/*.{service,socket}; do
        echo "--bind-ro=$PWD/$unit:/usr/lib/systemd/system/$(basename "$unit")"
    done
    echo "--bind-ro=$PWD/config/systemd/moorgate-restart:/usr/sbin/moorgate-restart"
    echo "--bind-ro=$PWD/config/systemd/moorgate.sysusers:/usr/lib/sysusers.d/moorgate.conf"
    echo "--bind-ro=$PWD/config/systemd/moorgate.tmpfiles:/usr/lib/tmpfiles.d/moorgate.conf"
    echo "--bind-ro=$PWD/config/systemd/moorgate.logrotate:/etc/logrotate.d/moorgate"
}

# make_files NAME FOLDER: makes a certificate for a host name, and the user alice with the password secret.
make_files() {
    mkdir -p "$2"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -addext "subjectAltName=DNS:$1" -keyout "$2/tls.key" -out "$2/tls.crt" 2> "$folder/nothing"
    echo secret | "${MOORGATE:-target/release/moorgate}" hash-password alice > "$2/htpasswd"
}
