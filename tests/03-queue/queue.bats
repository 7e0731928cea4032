#!/usr/bin/env bats
# The program of lab 03: who produced and consumed what, its arguments, and
# what it does when a process is killed under it.

load ../harness/harness

each='Each item is consumed once, by one of the consumers.'
order='L03-08 What went in first comes out first.'
bound='A queue that is full makes the producer wait.'
early='The end is told when all have ended, and once.'
names='Another run of the same program is using, or has left, the same name.'
death='A process that is lost may have taken an item along: all did not go well.'
silent='The functions of a lab do their work in silence; to tell is the program'"'"'s part.'
clean='A program is over when everything that it started is over.'

produced() { sed -n 's/^Produced: //p' <<<"$output"; }
consumed() { sed -nE 's/^Consume(d|r [0-9]+ consumed): //p' <<<"$output"; }

# expect_work ITEMS: whoever did it, with whatever others
expect_work() {
	expect_status 0 'All went well.'
	expect_no_stderr "$silent"
	expect_last_line 'All processes have completed' "$early"
	expect_equal "$(grep -c completed <<<"$output")" 1 "$early"
	expect_equal "$(produced | sort -n)" "$(seq 0 $(($1 - 1)))" \
		'Each number is produced once.'
	expect_equal "$(consumed | sort -n)" "$(seq 0 $(($1 - 1)))" "$each"
	expect_clean "$clean"
}

# expect_bound MOST: never more have been produced and not yet consumed
expect_bound() {
	expect_equal "$(awk -v most="$1" '/^Produced/ && ++n > most {
		print n " were on their way"; exit } /onsumed: / { n-- }' \
		<<<"$output")" '' "$bound"
}

# expect_no_guess: nothing is consumed before it was produced
expect_no_guess() {
	expect_equal "$(awk '/^Produced/ { there[$2] = 1 }
		/onsumed: / && !there[$NF] { print $NF; exit }' \
		<<<"$output")" '' 'Nothing can be consumed before it is produced.'
}

# alike - all lines in an order of their own, whichever consumer it was
alike() { sort <<<"$output" | sed 's/^Consumer [0-9]*/Consumer N/' | sort; }

@test "five numbers go from a producer to a consumer, in order" {
	supervise prodcons
	expect_work 5
	expect_equal "$(consumed)" "$(seq 0 4)" "$order"
	expect_no_guess
}

@test "the lines are the same to a file, a pipe and a terminal" {
	local kind
	for kind in file pipe tty; do
		supervise --kind "$kind" prodcons --items 20 --capacity 3
		expect_work 20
		expect_equal "$(consumed)" "$(seq 0 19)" "$order"
	done
}

@test "many more items than room, and never more than there is room for" {
	supervise prodcons --items 500 --capacity 1
	expect_work 500
	expect_equal "$(consumed)" "$(seq 0 499)" "$order"
	expect_bound 3
	expect_no_guess
	supervise prodcons --items 300 --capacity 7 --producers 2 --consumers 3
	expect_work 300
	expect_bound 12
	expect_no_guess
}

@test "any number of producers and consumers, and items for not all of them" {
	local n i
	for n in '40 3 1' '2 5 4' '0 2 2'; do
		read -r items producers consumers <<<"$n"
		supervise prodcons --items "$items" --producers "$producers" \
			--consumers "$consumers" --capacity 2
		expect_work "$items"
		[ "$consumers" = 1 ] || continue
		for ((i = 0; i < producers; i++)); do
			expect_equal "$(consumed |
				awk -v m="$producers" -v i=$i '$1 % m == i')" \
				"$(seq $i "$producers" $((items - 1)))" "$order"
		done
	done
}

@test "pauses of the producer, of the consumers, and of both" {
	supervise prodcons --produce-every 0.002 --consume-every 0.01 --consumers 2
	expect_work 5
	supervise prodcons --items 12 --consume-every 0.002 --producers 2 --capacity 1
	expect_work 12
	expect_bound 4
}

@test "a run that is killed with all it started leaves nothing behind" {
	# shellcheck disable=SC2016
	script 'prodcons --items 1000000000 >/dev/null & parent=$!
		until_started $parent 2
		kill_all $parent
		prodcons --items 30'
	expect_work 30
}

@test "two runs at the same time do not meet" {
	# shellcheck disable=SC2016
	script 'prodcons --items 1000000000 >/dev/null & parent=$!
		until_started $parent 2
		prodcons --items 100 --consumers 2
		status=$?
		kill_all $parent
		exit $status'
	expect_equal "$(consumed | sort -n)" "$(seq 0 99)" "$names"
	expect_work 100
}

# Anywhere in a put or a get: not all that is right elsewhere survives that
# (a condition variable need not), and the functions are asked for the rest.
@test "when a process is killed it is told, and nobody is left" {
	with_the_solution_only
	local victim
	for victim in 0 1; do	# the producer, one of two consumers
		# shellcheck disable=SC2016
		script 'prodcons --items 1000000000 --consumers 2 >/dev/null &
			parent=$!
			until_started $parent 3
			kill -KILL "${leaves['$victim']}"
			wait $parent'
		expect_status 1 "$death"
		expect_stderr '^prodcons: a process has died' "$death"
		expect_clean "$clean"
	done
}

@test "when the parent is killed nobody goes on" {
	with_the_solution_only
	# shellcheck disable=SC2016
	script 'prodcons --items 1000000000 >/dev/null & parent=$!
		until_started $parent 2
		kill -KILL $parent
		{ wait $parent; } 2>/dev/null
		until_gone "${leaves[@]}"'
	expect_status 0 "$clean"
	expect_clean "$clean"
}

@test "started with SIGCHLD ignored, or with no input and output" {
	script 'trap "" CHLD; exec prodcons'
	expect_work 5
	script 'exec prodcons <&-'
	expect_work 5
	script 'exec prodcons >&-'
	expect_status 1 'What cannot be told is a failure.'
	expect_stderr 'cannot write to stdout' 'It says what it could not do.'
	expect_clean "$clean"
}

# The program itself, and two of its children.
@test "when not all processes can be started, those that run come to an end" {
	with_the_solution_only
	local few=() program
	allow_processes 3 prodcons
	for program in prodcons "python3 $PWD/labs/03-queue/demo/prodcons.py"; do
		# shellcheck disable=SC2086
		supervise "${few[@]}" $program --consumers 4 --items 1000000
		[ "${output##*$'\n'}" != 'All processes have completed' ] ||
			skip 'the number of processes cannot be limited here'
		expect_status 1 "$death"
		expect_stderr 'prodcons(.py)?: cannot start all processes: ' \
			"$death"
		expect_clean "$clean"
	done
}

@test "what is not understood is a usage error" {
	with_the_solution_only
	local a
	for a in '--items -1' '--items x' '--items 1e5' '--items' \
		'--items 99999999999999999999' '--producers 0' \
		'--producers -1' '--producers 201' '--producers 2.5' \
		'--consumers 0' '--consumers 1x' '--consumers' \
		'--capacity 0' '--capacity -3' '--capacity 1000001' \
		'--produce-every -1' '--produce-every x' \
		'--consume-every inf' '--consume-every nan' \
		'--consume-every 3601' '--unknown' surplus; do
		# shellcheck disable=SC2086
		expect_usage_error prodcons $a
	done
	supervise prodcons --help
	expect_status 0 'Who asks for help has made no mistake.'
	expect_matches '^usage: prodcons' 'It says how it is used.'
}

@test "the Python twin does the same job and prints the same lines" {
	with_the_solution_only
	local a lines twin=labs/03-queue/demo/prodcons.py
	for a in '' '--items 12 --producers 2 --consumers 2 --capacity 1' \
		'--items 6 --consumers 3 --produce-every 0.001 --consume-every 0.004' \
		'--items 0'; do
		# shellcheck disable=SC2086
		supervise prodcons $a
		lines=$(alike)
		# shellcheck disable=SC2086
		supervise python3 $twin $a
		expect_equal "$(alike)" "$lines" 'The same lines.'
		expect_no_guess
		expect_work "$(consumed | wc -l)"
	done
	# shellcheck disable=SC2016
	script 'python3 '$twin' --items 1000000000 >/dev/null & parent=$!
		until_started $parent 2
		kill -KILL "${leaves[0]}"
		wait $parent'
	expect_status 1 "$death"
	expect_stderr 'a process has died' "$death"
	expect_clean "$clean"
	for a in '--producers 0' '--capacity 0' '--items x' \
		'--consume-every -1' surplus; do
		# shellcheck disable=SC2086
		expect_usage_error python3 $twin $a
	done
}
