# What the commands of this folder share: the root, messages, labs, TODOs.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

say() { printf '%s\n' "$*"; }

# usage ..., fail ... - one line on stderr; status 2 (wrong call) or 1
usage() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 2; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

has() { command -v "$1" >/dev/null 2>&1; }

# Colours only on a terminal.
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\e[1m' green=$'\e[32m' plain=$'\e[0m'
else
	bold='' green='' plain=''
fi
export bold green plain

# labs - the names of all labs, one to a line: 01-processes, 02-pool, ...
labs() {
	local lab
	for lab in labs/[0-9][0-9]-*/README.md; do
		if [ -e "$lab" ]; then basename "${lab%/README.md}"; fi
	done
}

# find_lab WORD - the lab's name for 2, 02, pool, 02-pool or labs/02-pool/
find_lab() {
	local lab word=${1%/}
	word=${word#labs/}
	[ -n "$word" ] ||
		usage "which lab? Say LAB=... with one of: $(labs | xargs)"
	for lab in $(labs); do
		case $word in
		"$lab" | "${lab%%-*}" | "${lab#*-}") say "$lab"; return ;;
		esac
		[ "0$word" = "${lab%%-*}" ] && say "$lab" && return
	done
	usage "there is no lab '$1'. There are: $(labs | xargs)"
}

# student_files LAB - what the student edits, in the order of hints.md
# (`## process.c TODO 1: ...`); a lab with one file has no names there
student_files() {
	local file
	{
		sed -nE 's/^## ([a-z0-9_]+\.c) TODO.*/\1/p' \
			"labs/$1/hints.md" 2>/dev/null || true
		for file in solutions/"$1"/*.c; do basename "$file"; done
	} | awk '!seen[$0]++' | while read -r file; do
		[ -e "labs/$1/$file" ] && say "labs/$1/$file"
	done
}

# todos LAB - the TODOs still to be written, in order: "path:line n"
todos() {
	local file
	student_files "$1" | while read -r file; do
		sed -nE '/^[ \t]*TODO\([0-9]+\)/{=;s/.*TODO\(([0-9]+)\).*/\1/p}' \
			"$file" | paste - - | sort -n -k2 |
			while read -r line n; do say "$file:$line $n"; done
	done
}

# results LAB - the file with the lab's last verdicts
results() { say "build/results/$1.tsv"; }

# stale LAB - there are no results, or the student has edited since
stale() {
	local file
	[ -e "$(results "$1")" ] || return 0
	for file in $(student_files "$1"); do
		[ "$file" -nt "$(results "$1")" ] && return 0
	done
	return 1
}

# first_failure LAB - kind, check, verdict, why and where of the first check
# that did not pass, each on its own line; nothing when all did
first_failure() {
	[ -e "$(results "$1")" ] || return 0
	awk -F'\t' '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		$at["verdict"] ~ /^(fail|todo)$/ {
			print $at["kind"]; print $at["check"]
			print $at["verdict"]; print $at["why"]
			print $at["where"]; exit
		}' "$(results "$1")"
}

# next_todo LAB - "path:line n" of the TODO to write next: the one at which
# the last judgment stopped, or else the first; nothing when all are written
next_todo() {
	local first todo
	mapfile -t first < <(first_failure "$1")
	todo=$(todos "$1")
	if [ "${first[2]:-}" = todo ]; then
		todo=$(awk -v where="${first[4]}" '$1 == where' <<<"$todo")
	fi
	sed -n 1p <<<"${todo:-$(todos "$1")}"
}
