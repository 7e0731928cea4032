#!/usr/bin/env bats
# The program of lab 06: who is in the room with whom, its arguments, and what
# it does when a worker fails or is killed.

load ../harness/harness

many='L06-02 More were inside than there are places: not everybody counts the same number.'
each='Each worker waits, enters once and leaves once.'
number='The number you start with is the number of free places.'
shown='L06-20 What is shown beside "entered" is how many could still get in.'
last='All have completed when the last one has left, and it is told once.'
failing='L06-08 One way out of the room forgets to give the place back.'
names='L06-13 Another run of the same program is using, or has left, the same name.'
outlives='L06-13 What has a name or a number in the system stays there when the program is killed.'
argument='The number of workers and of places is what the command line says.'
death='L06-17 The place of a worker that died is never free again.'
silent='The functions of a lab do their work in silence; to tell is the program'"'"'s part.'
clean='A program is over when everything that it started is over.'

# until_entered FILE N - wait until so many have entered
until_entered() {
	until [ "$(grep -c ' entered, ' "$1")" -ge "$2" ]; do :; done
}

# script TEXT - a piece of bash, which may use these, under the supervisor
export -f until_entered

# lines_of WORKERS FAIL_EVERY - all lines, without the number of places left
lines_of() {
	local i
	for ((i = 0; i < $1; i++)); do
		echo "Worker $i is waiting"
		echo "Worker $i entered"
		if (($2 > 0 && (i + 1) % $2 == 0)); then
			echo "Worker $i failed"
		else
			echo "Worker $i left"
		fi
	done
	echo 'All processes have completed'
}

# order_of LIMIT - where it goes wrong, or nothing: each enters after it waited and leaves after
# it entered, and never are more inside than there are places.
order_of() {
	awk -v limit="$1" '
	/is waiting$/ { state[$2] = 1 }
	/ entered, / {
		if (state[$2]++ != 1) print "worker " $2 " enters unasked"
		if (++inside > limit) print inside " are inside"
	}
	/ (left|failed)$/ && NF == 3 {
		if (state[$2]++ != 2) print "worker " $2 " has not entered"
		inside--
	}' <<<"$output"
}

expect_run() {	# WORKERS LIMIT FAIL_EVERY
	local bad plain
	bad=$(order_of "$2")
	[[ $bad != *' are inside'* ]] ||
		fails "$many" "at most $2 inside" "$bad"$'\n'"$output"
	[ -z "$bad" ] || fails "$each" "$each" "$bad"$'\n'"$output"
	plain=$(sed -E 's/ entered, [0-9]+ left$/ entered/' <<<"$output")
	expect_equal "$(sort <<<"$plain")" "$(lines_of "$1" "$3" | sort)" "$each"
	expect_last_line 'All processes have completed' "$last"
	bad=$(awk -v limit="$2" '/ entered, / && $4 >= limit' <<<"$output")
	[ -z "$bad" ] || fails "$shown" "less than $2 left" "$bad"
	expect_no_stderr "$silent"
	expect_clean "$clean"
}

@test "six workers, and at most two of them inside" {
	supervise limit --work 0.02
	expect_run 6 2 0
	expect_status 0 'All went well.'
}

@test "to a file, a pipe and a terminal" {
	local kind
	for kind in file pipe tty; do
		supervise --kind "$kind" limit --workers 3 --work 0
		expect_run 3 2 0
		expect_status 0 'All went well.'
	done
}

@test "any number of workers, any number of places" {
	local n
	for n in '1 1' '5 1' '3 7' '30 4'; do
		supervise limit --workers "${n% *}" --limit "${n#* }" --work 0
		expect_run "${n% *}" "${n#* }" 0
		expect_status 0 "$argument"
	done
	# The first of three takes one of seven, and all leave at least four.
	supervise limit --workers 3 --limit 7 --work 0.02
	[ -z "$(awk '/ entered, / && $4 < 4' <<<"$output")" ] ||
		fails "$number" 'at least 4 of 7 left' "$output"
}

@test "who fails in the room leaves it as well" {
	local n
	for n in '4 1 2' '5 2 1'; do
		# shellcheck disable=SC2086
		set -- $n
		supervise limit --workers "$1" --limit "$2" --fail-every "$3" \
			--work 0
		expect_run "$1" "$2" "$3"
		expect_status 1 "$failing"
	done
}

@test "a run that is killed with all it started leaves nothing behind" {
	# shellcheck disable=SC2016
	local killed='limit --workers 3 --work 1000 >/dev/null & parent=$!
		until_started $parent 3
		kill_all $parent'
	script "$killed; true"
	expect_clean "$outlives"
	script "exec 3>&2 2>/dev/null; $killed; limit --workers 3 --work 0 2>&3"
	expect_run 3 2 0
	expect_status 0 "$names"
}

@test "two runs at the same time do not meet" {
	# shellcheck disable=SC2016
	script 'exec 3>&2 2>/dev/null
		file=$(mktemp)
		limit --workers 3 --limit 1 --work 1000 >$file & parent=$!
		until_entered $file 1
		limit --workers 3 --limit 1 --work 0 2>&3
		status=$?
		kill_all $parent
		rm $file
		exit $status'
	expect_run 3 1 0
	expect_status 0 "$names"
}

# They are forked one after the other, so worker i has the i-th smallest pid.
@test "when one after the other is killed inside, the next gets in" {
	with_the_solution_only
	# shellcheck disable=SC2016
	script 'file=$(mktemp)
		limit --workers 4 --limit 1 --work 1000 >$file & parent=$!
		until_started $parent 4
		mapfile -t leaves < <(printf "%s\n" "${leaves[@]}" | sort -n)
		for n in 1 2 3 4; do
			until_entered $file $n
			i=$(sed -n "s/^Worker \(.\) entered.*/\1/p" $file | tail -1)
			kill -KILL ${leaves[i]}
		done
		wait $parent
		status=$?
		cat $file
		rm $file
		exit $status'
	expect_status 1 "$death"
	expect_last_line 'All processes have completed' "$death"
	expect_stderr 'limit: a worker died' "$death"
	expect_clean "$clean"
}

@test "when the parent is killed nobody goes on" {
	with_the_solution_only
	# shellcheck disable=SC2016
	script 'limit --workers 3 --work 1000 >/dev/null & parent=$!
		until_started $parent 3
		kill -KILL $parent
		wait $parent
		until_gone "${leaves[@]}"'
	expect_status 0 "$clean"
	expect_clean "$clean"
}

@test "started with SIGCHLD ignored, or with no input and output" {
	script 'trap "" CHLD; exec limit --workers 3 --limit 1 --work 0'
	expect_run 3 1 0
	expect_status 0 'Who starts a program does not decide how it waits.'
	script 'exec limit --workers 3 --work 0 <&-'
	expect_run 3 2 0
	expect_status 0 'The program reads nothing.'
	script 'limit --workers 3 --work 0 >&-'
	expect_status 1 'Lines that cannot be told are a failure.'
	expect_stderr 'cannot write to stdout' 'It says what it could not do.'
}

# The program itself, and three more.
@test "when not all workers can be started those that were end first" {
	with_the_solution_only
	local few=() program
	allow_processes 4 limit
	for program in limit "python3 $PWD/labs/06-semaphore/demo/limit.py"; do
		# shellcheck disable=SC2086
		supervise "${few[@]}" $program --workers 30 --work 0.02
		[[ $output != *'All processes have completed'* ]] ||
			skip 'the number of processes cannot be limited here'
		expect_status 1 'It says what it could not do.'
		expect_stderr 'limit(.py)?: cannot start all workers: ' \
			'It says what it could not do.'
		expect_equal "$(order_of 2)" '' "$each"
		expect_equal "$(grep -cE '^Worker [0-9]+ left$' <<<"$output")" \
			"$(grep -c ' entered, ' <<<"$output")" "$each"
		expect_clean "$clean"
	done
}

@test "what is not understood is a usage error" {
	with_the_solution_only
	local a
	for a in '--workers 0' '--workers -1' '--workers abc' '--workers 1x' \
		'--workers 1001' '--workers' '--limit 0' '--limit -1' \
		'--limit 2.5' '--limit 99999999999999999999' '--limit' \
		'--work -1' '--work x' '--work inf' '--work' \
		'--fail-every -1' '--fail-every x' '--fail-every' \
		'--unknown' surplus; do
		# shellcheck disable=SC2086
		expect_usage_error limit $a
	done
	supervise limit --help
	expect_status 0 'Who asks for help has made no mistake.'
	expect_matches '^usage: limit' 'It says how it is used.'
}

@test "the Python twin prints the same lines" {
	with_the_solution_only
	local a n twin=labs/06-semaphore/demo/limit.py
	for n in '6 2 0' '4 1 2'; do
		# shellcheck disable=SC2086
		set -- $n
		supervise python3 $twin --workers "$1" --limit "$2" \
			--fail-every "$3" --work 0.01
		expect_run "$1" "$2" "$3"
		expect_status "$(($3 > 0))" 'The Python program does the same job.'
	done
	# shellcheck disable=SC2016
	script 'file=$(mktemp)
		python3 '$twin' --workers 2 --limit 2 --work 1000 >$file & parent=$!
		until_entered $file 2
		tree_of $parent
		kill -KILL "${leaves[@]}"
		wait $parent
		status=$?
		cat $file
		rm $file
		exit $status'
	expect_status 1 "$death"
	expect_stderr 'limit.py: a worker died' "$death"
	expect_clean "$clean"
	for a in '--workers 0' '--limit 0' '--work -1' '--fail-every x' surplus; do
		# shellcheck disable=SC2086
		expect_usage_error python3 $twin $a
	done
}
