#!/usr/bin/env bats
# The programs of lab 02: their results, their arguments, and what they do
# when a worker dies under them.

load ../harness/harness

order='L02-01 The result that arrives first is not the result of the first item.'
golden='L02-17 The number no longer fits into the type you chose, and C does not tell you.'
death='L02-13 A worker died and you reported success.'
clean='A program is over when everything that it started is over.'
once='What the parent had not yet written was written by its workers too.'

# expect_factorials W N DIGITS SUM: the last line, whatever the time
expect_factorials() {
	expect_status 0 'All went well.'
	expect_equal "$(tail -n 1 <<<"$output" | sed 's/ seconds=[0-9.]*$//')" \
		"workers=$1 tasks=$2 digits=$3 sum=$4" "$golden"
	expect_no_stderr 'There is nothing to complain about.'
	expect_clean "$clean"
}

@test "squares of 1 to 5 and the cube of 4" {
	supervise squares
	expect_status 0 'All went well.'
	expect_output $'Squared results: [1, 4, 9, 16, 25]\n4 cubed is: 64' "$order"
	expect_clean "$clean"
}

@test "squares of other numbers" {
	supervise squares 12 0 7 2000000000
	expect_output $'Squared results: [144, 0, 49, 4000000000000000000]\n4 cubed is: 64' "$golden"
}

@test "squares prints the same to a file, a pipe and a terminal" {
	local kind
	for kind in file pipe tty; do
		supervise --kind $kind squares 3 4
		expect_output $'Squared results: [9, 16]\n4 cubed is: 64' "$once"
	done
}

@test "the factorials of 0 to 11999, in full" {
	supervise factorials
	expect_factorials 5 12000 246808022 5978637581880
}

@test "single factorials have the right digits and residues" {
	supervise factorials --n 1001 --workers 3 --list
	local line
	for line in '0! has 1 digits, residue 1' \
		'20! has 19 digits, residue 146326063' \
		'21! has 20 digits, residue 72847302' \
		'25! has 26 digits, residue 440732388' \
		'100! has 158 digits, residue 437918130' \
		'1000! has 2568 digits, residue 641419708'; do
		expect_equal "$(grep "^${line%% *} " <<<"$output")" "$line" "$golden"
	done
	expect_equal "$(head -n 1001 <<<"$output" | cut -d'!' -f1 | tr '\n' ' ')" \
		"$(seq -s ' ' 0 1000) " "$order"
	expect_clean "$clean"
}

@test "any number of workers, any chunks, and none at all" {
	supervise factorials --n 500 --workers 1
	expect_factorials 1 500 256392 238967469153
	supervise factorials --n 500 --workers 16 --chunksize 1
	expect_factorials 16 500 256392 238967469153
	supervise factorials --n 500 --workers 3 --chunksize 1000
	expect_factorials 3 500 256392 238967469153
	supervise factorials --n 500 --serial
	expect_factorials 0 500 256392 238967469153
	supervise factorials --n 0
	expect_factorials 5 0 0 0
}

@test "a task that kills its worker is lost, and the program says so" {
	supervise factorials --n 100 --workers 3 --chunksize 1 --crash 42
	expect_status 1 "$death"
	expect_stderr 'lost 42' "$death"
	expect_output '' "$death"
	expect_clean "$clean"
	supervise factorials --n 100 --workers 1 --crash 0
	expect_status 1 "$death"
	expect_stderr 'lost 0' "$death"
	expect_clean "$clean"
}

@test "usage errors" {
	with_the_solution_only
	expect_usage_error squares x
	expect_usage_error squares 1 2.5
	expect_usage_error factorials 7
	expect_usage_error factorials --workers 0
	expect_usage_error factorials --workers -1
	expect_usage_error factorials --n 1x
	expect_usage_error factorials --chunksize -1
	expect_usage_error factorials --n 10 --crash 10
	expect_usage_error factorials --nonsense
	supervise factorials --help
	expect_status 0 'Help is no error.'
	expect_matches 'usage: factorials' 'Help tells how to call the program.'
}

@test "the Python twins print the same lines" {
	with_the_solution_only
	local lines options demo=labs/02-pool/demo
	for options in '' '7 3 12'; do
		# shellcheck disable=SC2086
		supervise squares $options
		lines=$output
		# shellcheck disable=SC2086
		supervise python3 "$demo/squares.py" $options
		expect_output "$lines" 'The Python program does the same job.'
	done
	for options in '--workers 3' '--serial' '--chunksize 7'; do
		# shellcheck disable=SC2086
		supervise factorials --n 60 --list $options
		lines=${output% seconds=*}
		# shellcheck disable=SC2086
		supervise python3 "$demo/factorials.py" --n 60 --list $options
		expect_equal "${output% seconds=*}" "$lines" \
			'The Python program does the same job.'
	done
	supervise python3 "$demo/factorials.py" --n 60 --crash 7
	expect_status 1 'A worker that dies is told, in Python too.'
	expect_stderr 'lost 7' 'A worker that dies is told, in Python too.'
}
