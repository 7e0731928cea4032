#!/usr/bin/env bats
# The programs of lab 01: what they print, in which order, to whom, and how
# they end.

load ../harness/harness

demo=labs/01-processes/demo
once='L01-01 Your child process kept going after its own work and executed code that was meant for the parent only.'
each='L01-02 Each of the workers runs once, in a process of its own.'
wait='The parent goes on when all of its workers have ended, not before.'
silent='The functions of a lab do their work in silence; to tell is the program'"'"'s part.'
clean='A program is over when everything that it started is over.'
never='L01-11 Your finished children were never collected, so the system has to keep a record of each of them.'

# expect_workers N [LINE...]: what `workers` prints for N workers, the further
# lines before the last one
expect_workers() {
	local n=$1 lines i last='All processes have completed'
	shift
	lines="Starting $n workers"
	for ((i = 0; i < n; i++)); do
		lines+=$'\n'"Worker process $i is running"
	done
	for i; do lines+=$'\n'$i; done
	expect_equal "$(grep -c "$last" <<<"$output")" 1 "$once"
	expect_lines "$lines"$'\n'"$last" "$each"
	expect_first_line "Starting $n workers" 'The parent speaks first.'
	expect_last_line "$last" "$wait"
}

expect_nothing_left() {
	# shellcheck disable=SC2154  # set by supervise
	case $leftovers in
	*'nobody waited'*) expect_clean "$never" ;;
	*) expect_clean "$clean" ;;
	esac
}

@test "workers run, and the parent has the last word" {
	local n
	for n in 4 1 30; do
		supervise workers --workers "$n"
		expect_workers "$n"
		expect_status 0 'All workers did well.'
		expect_no_stderr "$silent"
		expect_nothing_left
	done
}

@test "workers print the same lines to a pipe and to a terminal" {
	local kind
	for kind in pipe tty; do
		supervise --kind "$kind" workers
		expect_workers 4
		expect_status 0 'All workers did well.'
	done
}

@test "the worker that fails is named" {
	local k
	for k in 0 2 3; do
		supervise workers --fail "$k"
		expect_workers 4 "Worker $k failed with exit code 3"
		expect_status 1 'One worker failed, so the program did.'
		expect_no_stderr "$silent"
		expect_nothing_left
	done
}

@test "the watchdog beats while the factorial grows, and is ended then" {
	local beats n
	supervise watchdog --every 0.01 --n 20000
	expect_status 0 'The factorial was computed.'
	expect_equal "$(grep -v Heartbeat <<<"$output")" \
		'20000! has 77338 digits' 'The parent computes the factorial.'
	beats=$(grep -c Heartbeat <<<"$output" || true)
	expect_equal "$(grep Heartbeat <<<"$output" || true)" \
		"$(seq -f 'Heartbeat %.0f' "$beats")" \
		'One watchdog counts its beats from 1.'
	expect_no_stderr "$silent"
	expect_nothing_left
	for n in 0 1 10; do
		supervise watchdog --every 3600 --n "$n"
		expect_status 0 'The factorial was computed.'
		expect_matches "(^|"$'\n'")$n! has [17] digits" \
			'0! and 1! have one digit, 10! has seven.'
		expect_nothing_left
	done
}

@test "under the GIL one computes at a time, and the result is the same" {
	local mode inside result=
	for mode in gil threads processes io; do
		supervise gil --mode "$mode" --workers 3 --steps 7
		expect_status 0 'The work was done.'
		expect_matches "^mode=$mode workers=3 steps=7 max_inside=[123] cpu=[0-9]+% result=[0-9]+$" \
			'One line tells what was measured.'
		: "${result:=${output##*result=}}"
		expect_equal "${output##*result=}" "$result" \
			'It is the same work, whoever does it.'
		inside=${output#*max_inside=}
		[ "$mode" != gil ] || expect_equal "${inside%% *}" 1 \
			'With the GIL held, nobody else computes.'
		expect_nothing_left
	done
	expect_equal "$result" 45612573970 'Each worker does each step once.'
}

@test "what is not understood is a usage error" {
	with_the_solution_only
	local a
	for a in '--workers 0' '--workers -1' '--workers abc' '--workers 1x' \
		'--workers 99999999999999999999' '--workers' '--fail 4' \
		'--fail -1' '--fail x' '--unknown' 'surplus'; do
		# shellcheck disable=SC2086
		expect_usage_error workers $a
	done
	for a in '--every 0' '--every -1' '--every x' '--every nan' '--n -1' \
		'--n 1.5' '--n 1e99' 'surplus'; do
		# shellcheck disable=SC2086
		expect_usage_error watchdog $a
	done
	for a in '--mode' '--mode turbo' '--mode gil|io' '--workers 0' \
		'--steps 0' '--steps x' 'surplus'; do
		# shellcheck disable=SC2086
		expect_usage_error gil $a
	done
}

@test "help is no error" {
	with_the_solution_only
	local program
	for program in workers watchdog gil; do
		supervise "$program" --help
		expect_status 0 'Who asks for help has made no mistake.'
		expect_matches "^usage: $program" 'It says how it is used.'
	done
}

@test "the Python twins print the same lines" {
	with_the_solution_only
	local options lines
	for options in '' '--workers 2' '--workers 5 --fail 3'; do
		# shellcheck disable=SC2086
		supervise workers $options
		lines=$output
		# shellcheck disable=SC2086
		supervise python3 "$demo/workers.py" $options
		expect_lines "$lines" 'The Python program does the same job.'
	done
	supervise watchdog --every 3600 --n 3000
	lines=$(grep -v Heartbeat <<<"$output")
	supervise python3 "$demo/watchdog.py" --every 3600 --n 3000
	expect_equal "$(grep -v Heartbeat <<<"$output")" "$lines" \
		'The Python program does the same job.'
	for options in gil threads processes io; do
		supervise gil --mode "$options" --workers 2 --steps 5
		lines=${output##*result=}
		supervise python3 "$demo/gil.py" --mode "$options" \
			--workers 2 --steps 5
		expect_equal "${output##*result=}" "$lines" \
			'The Python program does the same job.'
	done
}
