#!/usr/bin/env bats
# The program of lab 05: its total, its arguments, and what it does when a
# process is killed under it.

load ../harness/harness

final='L05-02 Each increment counts, whatever the others do at the same time.'
own='L05-01 Every process counted in its own copy.'
early='L05-20 The total is told when all have finished, and once.'
names='L05-22 Another run of the same program is using, or has left, the same name.'
argument='L05-25 The number of processes and of increments is what the command line says.'
death='A process that is lost takes its increments with it: there is no total.'
silent='The functions of a lab do their work in silence; to tell is the program'"'"'s part.'
clean='A program is over when everything that it started is over.'

expect_total() {	# TOTAL WHY
	[ -n "$output" ] || expect_status 0 "$2"
	expect_output "Final counter value: $1" "$2"
	expect_status 0 'All went well.'
	expect_no_stderr "$silent"
	expect_clean "$clean"
}

@test "four processes count together" {
	# The lesson's 400,000 take some designs that are right a minute.
	local each=20000
	[ "$IMPLEMENTATION" != solution ] || each=100000
	supervise --limit 300 counter --increments $each
	[ "$output" != 'Final counter value: 0' ] ||
		expect_total $((4 * each)) "$own"
	[[ $output != *$'\n'* ]] || expect_total $((4 * each)) "$early"
	expect_total $((4 * each)) "$final"
	[ "$IMPLEMENTATION" = solution ] || return 0
	supervise counter
	expect_total 400000 "$final"
}

@test "the total is the same to a file, a pipe and a terminal" {
	local kind
	for kind in file pipe tty; do
		supervise --kind "$kind" counter --increments 1000
		expect_total 4000 "$early"
	done
}

@test "any number of processes, any number of increments" {
	local n
	for n in '1 70000' '3 7' '40 100'; do
		supervise counter --processes "${n% *}" --increments "${n#* }"
		expect_total $((${n% *} * ${n#* })) "$argument"
	done
	supervise counter --increments 0
	expect_total 0 "$argument"
}

@test "without the lock increments are lost, in every run" {
	with_the_solution_only
	local n why='None of the numbers that are written after a meeting builds upon another.'
	for n in 1 2 3 4 5; do
		supervise counter --unsafe
		expect_matches '^Final counter value: [0-9]+$' "$why"
		n=${output##* }
		if [ "$n" -lt 100 ] || [ "$n" -gt 399700 ]; then
			fails "$why" 'from 100 to 399700' "$n"
		fi
		expect_total "$n" "$why"
	done
	supervise counter --unsafe --increments 1
	expect_total 1 "$why"
	supervise counter --unsafe --processes 30 --increments 1
	expect_total 1 "$why"
	supervise counter --unsafe --processes 1
	expect_total 100000 'Who is alone loses nothing.'
	supervise counter --unsafe --increments 0
	expect_total 0 "$argument"
}

@test "a run that is killed with all it started leaves nothing behind" {
	# shellcheck disable=SC2016
	local killed='counter --increments 1000000000 >/dev/null & parent=$!
		until_started $parent 4
		kill_all $parent'
	script "$killed; true"
	expect_clean "$names"
	script "$killed; counter --increments 5000"
	expect_output 'Final counter value: 20000' "$names"
	expect_status 0 "$names"
	expect_clean "$names"
}

@test "two runs at the same time do not meet" {
	# shellcheck disable=SC2016
	script 'counter --increments 1000000000 >/dev/null & parent=$!
		until_started $parent 4
		counter --increments 5000
		status=$?
		kill_all $parent
		exit $status'
	expect_output 'Final counter value: 20000' "$names"
	expect_status 0 "$names"
	expect_clean "$clean"
}

@test "when a process is killed there is no total, and nobody is left" {
	local unsafe ways=('')
	[ "$IMPLEMENTATION" != solution ] || ways+=(--unsafe)
	for unsafe in "${ways[@]}"; do
		# shellcheck disable=SC2016
		script 'counter --increments 1000000000 '"$unsafe"' & parent=$!
			until_started $parent 4
			kill -KILL "${leaves[-1]}"
			wait $parent'
		[ "$output" != 'Final counter value: 4000000000' ] ||
			skip 'all had counted before one could be killed'
		expect_status 1 "$death"
		expect_output '' "$death"
		expect_stderr 'counter: process [0-9]+ was killed by signal 9' \
			"$death"
		expect_clean "$clean"
	done
}

@test "when the parent is killed nobody goes on" {
	with_the_solution_only
	# shellcheck disable=SC2016
	script 'counter --increments 1000000000 & parent=$!
		until_started $parent 4
		kill -KILL $parent
		wait $parent
		until_gone "${leaves[@]}"'
	expect_status 0 "$clean"
	expect_output '' "$death"
	expect_clean "$clean"
}

@test "started with SIGCHLD ignored, or with no input and output" {
	script 'trap "" CHLD; exec counter --increments 100'
	expect_total 400 'Who starts a program does not decide how it waits.'
	script 'exec counter --increments 100 <&-'
	expect_total 400 'The program reads nothing.'
	script 'counter --increments 100 >&-'
	expect_status 1 'A total that cannot be told is a failure.'
	expect_stderr 'cannot write to stdout' 'It says what it could not do.'
	expect_clean "$clean"
}

# The program itself, and two of its children.
@test "when not all processes can be started there is no total" {
	with_the_solution_only
	local few=() program
	allow_processes 3 counter
	for program in counter "python3 $PWD/labs/05-lock/demo/counter.py"; do
		# shellcheck disable=SC2086
		supervise "${few[@]}" $program --increments 1000000
		[ "$output" != 'Final counter value: 4000000' ] ||
			skip 'the number of processes cannot be limited here'
		expect_status 1 "$death"
		expect_output '' "$death"
		expect_stderr 'counter(.py)?: cannot start process [0-9]: ' \
			"$death"
		expect_clean "$clean"
	done
}

@test "what is not understood is a usage error" {
	with_the_solution_only
	local a
	for a in '--processes 0' '--processes -1' '--processes abc' \
		'--processes 1x' '--processes 2.5' '--processes 5000' \
		'--processes 99999999999999999999' '--processes' \
		'--increments -1' '--increments x' '--increments 1e5' \
		'--increments 99999999999999999999' '--increments' \
		'--unsafe=1' '--unknown' surplus; do
		# shellcheck disable=SC2086
		expect_usage_error counter $a
	done
	supervise counter --help
	expect_status 0 'Who asks for help has made no mistake.'
	expect_matches '^usage: counter' 'It says how it is used.'
}

@test "the Python twin prints the same lines" {
	with_the_solution_only
	local a total twin=labs/05-lock/demo/counter.py
	for a in '' '--processes 3 --increments 70' '--increments 0' \
		'--unsafe --increments 1' '--unsafe --processes 1 --increments 2000'; do
		# shellcheck disable=SC2086
		supervise counter $a
		total=${output##* }
		# shellcheck disable=SC2086
		supervise python3 $twin $a
		expect_total "$total" 'The Python program does the same job.'
	done
	supervise python3 $twin --unsafe --increments 5000
	expect_matches '^Final counter value: [0-9]+$' 'The same line.'
	if [ "${output##* }" -lt 5 ] || [ "${output##* }" -gt 19985 ]; then
		fails 'Without the lock increments are lost, in Python too.' \
			'from 5 to 19985' "$output"
	fi
	# shellcheck disable=SC2016
	script 'python3 '$twin' --increments 1000000000 & parent=$!
		until_started $parent 4
		kill -KILL "${leaves[-1]}"
		wait $parent'
	expect_status 1 "$death"
	expect_output '' "$death"
	expect_stderr 'process [0-9]+ was killed by signal 9' "$death"
	expect_clean "$clean"
	for a in '--processes 0' '--processes 1001' '--increments x' surplus; do
		# shellcheck disable=SC2086
		expect_usage_error python3 $twin $a
	done
}
