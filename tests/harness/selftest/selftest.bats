# The harness judges mistakes on purpose: each check of selftest.c names as its
# kind the verdict it must come to.

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
}

setup_file() {
	export TABLE=$BATS_FILE_TMPDIR/table.tsv
	build/plain/supervise --report "$BATS_FILE_TMPDIR/report" -- \
		build/plain/selftest --keep-going --results "$TABLE" \
		--implementation selftest 3>&- || true
}

field() {	# CHECK COLUMN
	awk -F'\t' -v check="$1" -v column="$2" \
		'$4 == check { print $column }' "$TABLE"
}

@test "every check of the harness comes to the verdict it must come to" {
	assert_equal "$(tail -n 1 "$TABLE" | cut -f 3)" end
	run awk -F'\t' '$3 != $5 && $3 != "end" { print }' "$TABLE"
	refute_output
	[ "$(grep -c . "$TABLE")" -ge 20 ]
}

@test "the report of a hang names the call, the line and who holds the other end" {
	run field 'a reader that holds the write end is stuck' 7
	assert_output --partial 'waits in read('
	assert_output --partial 'write end is open in itself'
	assert_output --regexp 'bad.c:[0-9]+ \(bad_keeps_the_write_end\)'
}

@test "a crash, an exit and a fault are told with the line of the student's file" {
	run field 'a crash is told with its line' 9
	assert_output --partial '(bad_crashes)'
	run field 'an exit in the middle is noticed' 9
	assert_output --partial '(bad_leaves_by_exit)'
	run field 'one read is not enough under EINTR' 9
	assert_output --partial '(bad_reads_once)'
}

@test "the supervisor kills what is left and tells what it was" {
	local report=$BATS_TEST_TMPDIR/report
	run build/plain/supervise --report "$report" -- \
		sh -c 'cat /dev/zero >/dev/null & touch "$TMPDIR/left"; exit 3'
	assert_failure 3
	assert_equal "$(head -n 1 "$report")" 'status 3'
	grep -q '1 process(es) still running' "$report"
	grep -q 'left left behind' "$report"
}

@test "the supervisor lets nobody signal everybody" {
	run build/plain/supervise -- sh -c 'kill -9 -1 2>/dev/null || exit 7'
	assert_failure 7
}

@test "the supervisor knows a program that waits for ever" {
	local report=$BATS_TEST_TMPDIR/report
	run build/plain/supervise --report "$report" -- \
		sh -c 'mkfifo "$TMPDIR/f"; cat "$TMPDIR/f"'
	assert_failure 124
	assert_equal "$(head -n 1 "$report")" stuck
}

@test "the supervisor stops a program at its limit" {
	run build/plain/supervise --limit 0.3 -- sh -c 'while :; do :; done'
	assert_failure 124
}

@test "a program's stdout can be a file, a pipe or a terminal" {
	local out=$BATS_TEST_TMPDIR/out
	for kind in file pipe tty; do
		build/plain/supervise --kind "$kind" --stdout "$out" -- \
			sh -c 'if [ -t 1 ]; then echo tty; elif [ -p /dev/stdout ]; then echo pipe; else echo file; fi'
		assert_equal "$(tr -d '\r' <"$out")" "$kind"
	done
}

@test "kill_all reaches those that are being started meanwhile" {
	local report=$BATS_TEST_TMPDIR/report
	for _ in {1..8}; do
		# shellcheck disable=SC2016
		build/plain/supervise --report "$report" -- bash -c '
			. tests/harness/harness.bash
			start() {
				[ $1 = 0 ] || start $(($1 - 1)) &
				sleep 1000
			}
			start 12 & parent=$!
			until_started $parent 1
			kill_all $parent
			true'
		assert_equal "$(cat "$report")" 'status 0'
	done
}
