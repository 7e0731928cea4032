# Installing Debian's packages, for the two commands that do: all of them or
# none, asking for root only where we are not, and saying what to type where
# we may not. A caller sets $me, its name in messages.
# shellcheck shell=bash

say() { printf '%s\n' "$*"; }
fail() { printf "${me:?}: %s\n" "$@" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# May we? Asks for sudo's password only where somebody can type it.
may_install() {
	[ "$(id -u)" = 0 ] && return
	has sudo || return
	if [ -t 0 ] && [ -t 2 ]; then sudo -v; else sudo -n true 2>/dev/null; fi
}

# tell_command WHAT PACKAGE... - the command to type, then make WHAT again
tell_command() {
	local sudo='' who=' as root' what=$1
	shift
	if has sudo; then sudo='sudo ' who=''; fi
	cat >&2 <<-EOT
		$me: missing: $*
		Installing needs root, and nothing was changed.
		Type this$who, then make $what again:

		    ${sudo}apt-get update && ${sudo}apt-get install --yes --no-install-recommends $*

	EOT
	exit 1
}

# Room for the packages? Half an installation is worse than none.
room_for() {
	local need free
	need=$(as_root apt-get install --no-install-recommends --assume-no \
		"$@" 2>/dev/null |
		awk '/^After this operation/ { gsub(",", "", $4)
			print int($4 * ($5 == "MB" ? 1e3 : $5 == "GB" ? 1e6 : 1))
		}') || true
	free=$(df -k --output=avail /usr | tail -n 1)
	[ "${need:-0}" -lt "$free" ] ||
		fail "the disk is too full; no package was changed" \
			"$((need / 1000)) MB needed, $((free / 1000)) MB free"
}

# step MESSAGE ADVICE COMMAND... - output and advice only when it fails
step() {
	local message=$1 advice=$2 output
	shift 2
	say "  $message"
	output=$(as_root "$@" 2>&1) && return
	printf '%s\n' "$output" | tail -n 5 >&2
	fail "$message failed (above)" "$advice" \
		"free on the disk:$(df -h --output=avail /usr | tail -n 1)"
}

# install WHAT ADVICE PACKAGE... - or the command to type; WHAT as above,
# ADVICE for a package that cannot be had
install() {
	local what=$1 advice=$2
	shift 2
	local apt=(env DEBIAN_FRONTEND=noninteractive
		apt-get -qq -o DPkg::Lock::Timeout=120)
	local get=("${apt[@]}" install --yes --no-install-recommends)

	has apt-get || fail "missing, by Debian's names: $*" \
		"This is neither Debian nor Ubuntu, so please install them the" \
		"way your system does. Forklab needs Linux: on another system" \
		"use a container or a virtual machine with Debian."
	may_install || tell_command "$what" "$@"
	say "installing $*"
	step "asking for the newest lists" \
		"Is there a network? No package was changed." \
		"${apt[@]}" update
	room_for "$@"
	step "downloading" "$advice No package was changed." \
		"${get[@]}" --download-only "$@"
	step "unpacking" "to go on with it: dpkg --configure -a" \
		"${get[@]}" "$@"
}
