# Faults on purpose: each check of selftest_faults.c names as its kind the
# verdict it must come to.

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
}

setup_file() {
	export TABLE=$BATS_FILE_TMPDIR/table.tsv
	build/plain/supervise --report "$BATS_FILE_TMPDIR/report" -- \
		build/plain/selftest_faults --keep-going --results "$TABLE" \
		--implementation selftest 3>&- || true
}

field() {	# CHECK COLUMN
	awk -F'\t' -v check="$1" -v column="$2" \
		'$4 == check { print $column }' "$TABLE"
}

# Where the system gives no /dev/shm of its own, that check may be skipped.
@test "every injector comes to the verdict it must come to" {
	assert_equal "$(tail -n 1 "$TABLE" | cut -f 3)" end
	run awk -F'\t' '$3 != $5 && $3 != "end" &&
		$8 !~ /^no \/dev\/shm/ { print }' "$TABLE"
	refute_output
	[ "$(grep -c . "$TABLE")" -ge 45 ]
}

@test "what never struck is told as not exercised" {
	run awk -F'\t' '$3 == "skip" && $8 !~ /^not exercised: |^no \/dev\/shm/' \
		"$TABLE"
	refute_output
	[ "$(grep -c 'not exercised' "$TABLE")" -ge 12 ]
}

@test "a failure under a fault tells which call was struck, how, and where" {
	run field 'one read or write is not enough' 7
	assert_output --partial 'fault: read, number 1 of read, moved one byte'
	run field 'one read or write is not enough' 9
	assert_output --regexp 'calling.c:[0-9]+ \(take_once\)'
	run field 'an interrupted call is not done' 7
	assert_output --partial 'number 1 of blocking, was interrupted: EINTR'
	run field 'an interrupted call is not done' 9
	assert_output --regexp 'waiting.c:[0-9]+ \(wait_for_children\)'
}

@test "the report of a hang knows every call that can wait for ever" {
	local call
	for call in read fgets fread fgetc getline recv accept ppoll pselect \
		epoll_wait; do
		run field 'stuck at descriptors' 7
		assert_output --regexp "${call}[^a-z_]"
	done
	for call in pause sigwait sigwaitinfo sigsuspend flock fcntl sem_wait \
		futex rwlock_wrlock barrier_wait cond_wait; do
		run field 'stuck at signals and locks' 7
		assert_output --regexp "${call}[^a-z_]"
	done
	for call in msgrcv semop; do
		run field 'stuck at System V objects' 7
		assert_output --regexp "${call}[^a-z_]"
	done
	assert_output --regexp 'stuck.c:[0-9]+ \(stuck_in_system_v\)'
}
