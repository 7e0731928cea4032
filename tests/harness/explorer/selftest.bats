# The explorer judges a table of small programs: what it finds in each, and
# after how many schedules, is the same on every run.

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
}

explore() {	# ... - what to run it under
	"$@" build/plain/supervise --stdout "$BATS_TEST_TMPDIR/out" \
		--report "$BATS_TEST_TMPDIR/report" -- \
		build/plain/selftest_explorer \
		--results "$BATS_TEST_TMPDIR/table.tsv" 3>&- || true
	run cut -f 5-8 "$BATS_TEST_TMPDIR/table.tsv"
}

@test "the explorer judges each small program as it must, in the same number of schedules" {
	explore env
	assert_output --partial pass
	refute_output --partial fail
}

@test "the explorer says the same on one core" {
	explore taskset -c 0
	assert_output --partial pass
	refute_output --partial fail
}
