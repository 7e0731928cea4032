# Helpers for a lab's .bats file: run a program under the supervisor, and tell
# what was expected, what was seen, and why it matters.
#
#   setup, teardown          are defined here; each test gives one row
#   supervise [--limit S] [--kind file|pipe|tty] PROGRAM ARGUMENT...
#                            sets status, output, stderr, ended, leftovers
#   script TEXT              a piece of bash under the supervisor, which may
#                            use the functions about processes below
#   expect_*                 end the test as failed; WHY is one sentence
#
# The judge sets BIN (where the programs lie), SUPERVISE, RESULTS, LAB and
# IMPLEMENTATION.

# shellcheck source=tests/harness/row.bash
. "${BASH_SOURCE[0]%/*}/row.bash"

setup() {
	started=${EPOCHREALTIME/[.,]/}
	verdict=fail expected='' got='' why='' where=''
	if [ -e "$RESULTS.stop" ]; then
		verdict=notrun
		skip 'an earlier check failed'
	fi
}

teardown() {
	if [ -n "${BATS_TEST_SKIPPED:-}" ] && [ "$verdict" = fail ]; then
		verdict=skip why=$BATS_TEST_SKIPPED
	elif [ -n "${BATS_TEST_COMPLETED:-}" ] && [ "$verdict" = fail ]; then
		verdict=pass expected='' got='' why='' where=''
	elif [ "$verdict" = fail ]; then
		: "${why:=The check itself ended with an error.}"
		[ -n "${KEEP_GOING:-}" ] || : >"$RESULTS.stop"
	fi
	[ "$verdict" = elsewhere ] ||
		row "$verdict" "$expected" "$got" "$why" "$where"
}

row() {
	local ms=$(((${EPOCHREALTIME/[.,]/} - started) / 1000))
	print_row "$LAB" "$IMPLEMENTATION" program "$BATS_TEST_DESCRIPTION" \
		"$@" "$ms" >>"$RESULTS"
}

# contents FILE VARIABLE - all of it but the last newline, without a process
contents() {
	local all
	IFS= read -rd '' all <"$1" || true
	printf -v "$2" %s "${all%$'\n'}"
}

# read_report FILE - how it ended, what it left, and why it did not go on
read_report() {
	local line
	ended='' leftovers='' hang=''
	while IFS= read -r line; do
		case $line in
		'left '*) leftovers+=${leftovers:+$'\n'}${line#left } ;;
		'hang '*) hang+=${hang:+$'\n'}${line#hang } ;;
		*) ended=${ended:-$line} ;;
		esac
	done <"$1"
}

supervise() {
	local options=()
	while [[ $1 == --* ]]; do
		options+=("$1" "$2")
		shift 2
	done
	where="\$ $*"
	local dir=${BATS_TEST_TMPDIR:=$(mktemp -d)}	# bats before 1.4
	status=0
	PATH="$BIN:$PATH" "$SUPERVISE" --limit 60 --stdout "$dir/out" \
		--stderr "$dir/err" --report "$dir/report" "${options[@]}" \
		-- "$@" 3>&- </dev/null >/dev/null 2>&1 || status=$?
	local hang
	contents "$dir/out" output
	output=${output//$'\r'/}	# a terminal's line ends
	contents "$dir/err" stderr
	read_report "$dir/report"
	case $ended in
	stuck) fails 'The program waits for something that can never come.' \
		'it comes to an end' "nothing moves any more, after: $output
$hang" ;;
	overtime) fails 'The program does not come to an end.' \
		'it comes to an end' "still busy at the time limit
$hang" ;;
	esac
}

# allow_processes N PROGRAM - in $few, what to put before a command that may be
# N processes, itself one of them. Few are allowed to a user that has none, or
# in a namespace that has none.
allow_processes() {
	few=(unshare --user)
	[ "$(id -u)" != 0 ] || few=(setpriv --reuid=61234 --clear-groups)
	few+=(prlimit --nproc="$1:$1")
	"${few[@]}" test -x "$BIN/$2" 2>/dev/null ||
		skip 'another user cannot reach the program here'
}

# ---- about processes, for script ----

# session_of PID - its session in $session and its state in $state, or nothing
session_of() {
	session='' state=''
	read -r session 2>/dev/null <"/proc/$1/stat" || true
	read -r state _ _ session _ <<<"${session##*) }"
}

# tree_of PID - the processes below it, parents first, in $tree; those of them
# that have no children, in $leaves; those in its session, in $ours; it and
# those of ours that can still start others, in $going
tree_of() {
	local todo=("$1") file pids kids session state wanted
	session_of "$1"
	wanted=$session
	tree=() leaves=() ours=() going=()
	while [ ${#todo[@]} -gt 0 ]; do
		session_of "${todo[0]}"	# first: who is stopped has no more children
		[[ $session != "$wanted" || $state != [RS] ]] ||
			going+=("${todo[0]}")
		kids=()
		for file in "/proc/${todo[0]}"/task/*/children; do
			pids=()
			read -ra pids 2>/dev/null <"$file" || true
			kids+=("${pids[@]}")
		done
		if [ "${todo[0]}" != "$1" ]; then
			tree+=("${todo[0]}")
			[ ${#kids[@]} -gt 0 ] || leaves+=("${todo[0]}")
			[ "$session" != "$wanted" ] || ours+=("${todo[0]}")
		fi
		todo=("${todo[@]:1}" "${kids[@]}")
	done
}

# until_started PID N - wait until N processes that have no children are below
# it, in $leaves: the workers, whoever started them
until_started() {
	leaves=()
	while [ ${#leaves[@]} -lt "$2" ] && kill -0 "$1" 2>/dev/null; do
		tree_of "$1"
	done
}

# until_gone PID... - wait until they have ended and are collected: orphans
# are, by the supervisor
until_gone() {
	local pid
	for pid; do
		while [ -e "/proc/${pid:-none}" ]; do sleep 0.005; done
	done
}

# kill_all PID - it and all that it has started, except what has a session of
# its own and may want to clear up. All are stopped first: what one starts in
# the moment in which it is killed is below nobody that we know.
kill_all() {
	tree_of "$1"
	while [ ${#going[@]} -gt 0 ]; do
		kill -STOP "${going[@]}"
		tree_of "$1"
	done
	kill -KILL "$1" "${ours[@]}"
	wait "$1"
	until_gone "${tree[@]}"
} 2>/dev/null	# where bash tells who was killed

export -f session_of tree_of until_started until_gone kill_all
script() { supervise bash -c "$1"; }

# For what does not depend on the student's file: no row for others.
with_the_solution_only() {
	[ "$IMPLEMENTATION" != solution ] || return 0
	verdict=elsewhere
	skip 'judged with the solution'
}

# fails WHY EXPECTED GOT
fails() {
	why=$1 expected=$2 got=$3
	printf 'expected: %s\ngot: %s\nwhy: %s\n' "$2" "$3" "$1"
	false
}

expect_status() {	# STATUS WHY
	[ "$status" -eq "$1" ] && return
	fails "$2" "exit status $1" "$ended${stderr:+, and on stderr: $stderr}"
}

expect_output() {	# TEXT WHY
	[ "$output" = "$1" ] || fails "$2" "$1" "$output"
}

expect_lines() {	# TEXT WHY: the same lines in any order
	[ "$(sort <<<"$output")" = "$(sort <<<"$1")" ] ||
		fails "$2" "$1"$'\n(in any order)' "$output"
}

expect_first_line() {	# TEXT WHY
	[ "${output%%$'\n'*}" = "$1" ] ||
		fails "$2" "the first line: $1" "${output%%$'\n'*}"
}

expect_last_line() {	# TEXT WHY
	[ "${output##*$'\n'}" = "$1" ] ||
		fails "$2" "the last line: $1" "${output##*$'\n'}"
}

expect_matches() {	# REGEX WHY
	[[ $output =~ $1 ]] || fails "$2" "something like $1" "$output"
}

expect_stderr() {	# REGEX WHY
	[[ $stderr =~ $1 ]] ||
		fails "$2" "on stderr something like $1" "${stderr:-nothing}"
}

expect_no_stderr() {	# WHY
	[ -z "$stderr" ] || fails "$1" 'nothing on stderr' "$stderr"
}

expect_equal() {	# GOT EXPECTED WHY
	[ "$1" = "$2" ] || fails "$3" "$2" "$1"
}

usage='What is not understood must not be guessed: a message on stderr, nothing on stdout, exit status 2.'

expect_usage_error() {	# PROGRAM ARGUMENT...
	supervise "$@"
	expect_status 2 "$usage"
	expect_output '' "$usage"
	expect_stderr . "$usage"
	expect_clean 'A program is over when everything that it started is over.'
}

expect_clean() {	# WHY
	[ -z "$leftovers" ] || fails "$1" 'nothing left behind' "$leftovers"
}
