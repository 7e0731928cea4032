# The hang report, on programs that cannot go on (selftest_report.c): it must
# name line, call, object, holder and circle. Each program is built twice: as
# the labs are, and as compilers do by themselves - optimized, at an address
# that is not fixed, without frame pointers.
# shellcheck disable=SC2030,SC2031  # each test is a shell of its own

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
}

# Two of them are not stuck; nothing else has a limit to run into.
setup_file() {
	cd "$BATS_TEST_DIRNAME/../../.." || return
	export STUCK=$BATS_FILE_TMPDIR SOURCE=tests/harness/selftest/selftest_report.c
	local build=("${CC:-gcc}" -std=c17 -D_GNU_SOURCE -g -pthread) name variant
	"${build[@]}" -O0 -fno-pie -no-pie "$SOURCE" -o "$STUCK/plain"
	"${build[@]}" -O2 -fpie -pie -fomit-frame-pointer "$SOURCE" \
		-o "$STUCK/fast"
	build/plain/supervise -- build/plain/selftest_hang --keep-going \
		--results "$STUCK/hang.tsv" --implementation selftest 3>&- &
	for variant in plain fast; do
		for name in $(names | grep -v hidden); do
			build/plain/supervise --limit \
				"$([ "$name" = busy ] && echo 6 || echo 60)" \
				--report "$STUCK/$variant.$name" -- \
				"$STUCK/$variant" "$name" 3>&- &
		done
	done
	wait
}

names() { grep -o '{ "[a-z_]*"' "$SOURCE" | tr -d '{ "'; }

# line WHO [FILE] - where it stands, by the mark in the source
line() {
	local file=${2:-selftest_report.c}
	echo "$file:$(grep -n "stands: $1 \*/" "tests/harness/selftest/$file" |
		cut -d: -f1)"
}

# in_order REPORT TEXT... - it has each of the texts, in this order
in_order() {
	local report text
	report=$(sed -E 's/^hang //; s/ \(pid [0-9]+\)//; s/^ +//' <<<"$1" |
		paste -sd ' ')
	shift
	for text in "$@"; do
		assert_regex "$report" "$text"
		report=${report#*"${BASH_REMATCH[0]:-}"}
	done
}

# says NAME TEXT... - so does the program of this name, both times built
says() {
	local variant name=$1
	shift
	for variant in plain fast; do
		in_order "$(cat "$STUCK/$variant.$name")" "$@"
	done
}

# check_says CHECK TEXT... - so does the check of this name in selftest_hang.c
check_says() {
	local got
	got=$(awk -F'\t' -v check="$1" '$4 == check { print $7 }' \
		"$STUCK/hang.tsv")
	shift
	in_order "${got//\\n/$'\n'}" "$@"
}

@test "a write end that is not closed: in the reader itself" {
	says write_end '^stuck' "the child waits in read\(3\), [^ ]*$(line reader)" \
		'write end is open in itself \(descriptor 4\)' \
		"the parent waits in waitpid\([0-9]+\), [^ ]*$(line 'parent of reader')" \
		'reason: the child waits .*: it waits for itself'
}

@test "a second consumer that waits for an end mark" {
	says second_consumer '^stuck' "waits in read\(3\), [^ ]*$(line consumer)" \
		'write end is open in the parent \(descriptor 4\)' \
		'circle: the parent waits for (the child|child 1), which waits for the parent' \
		'reason: .*waits for more data or for their end, and the parent.*An end mark that another reader took'
}

@test "a parent that waits for a child blocked on a full pipe" {
	says full_pipe '^stuck' "the child waits in write\(4\), [^ ]*$(line writer)" \
		'read end is open in the parent \(descriptor 3\)' \
		"waits in waitpid.*$(line 'who should read')" \
		'circle: the parent waits for the child, which waits for the parent' \
		'reason: The pipe is full: the child goes on only when the parent reads'
}

@test "a process that waits for itself: by a pipe, by a lock" {
	says itself '^stuck' "waits in read\(3\), [^ ]*$(line reader)" \
		'write end is open in itself' 'it waits for itself'
	says same_twice '^stuck' "waits in pthread_mutex_lock\(\), " \
		'mutex A, which it itself holds' \
		'wants a lock that it holds already: it waits for itself'
	grep -q "$(line again)" "$STUCK/plain.same_twice"
}

@test "a socketpair whose two ends both wait to hear first" {
	says silent_peer '^stuck' \
		"the parent waits in read\(3\), [^ ]*$(line 'parent hears')" \
		'a socket whose other end is open in the child \(descriptor 4\)' \
		"the child waits in recv\(4\), [^ ]*$(line 'child hears')" \
		'open in the parent \(descriptor 3\)' 'circle: ' \
		'reason: .*: neither speaks first'
}

@test "two that both write and never read" {
	says both_write '^stuck' 'waits in write\([0-9]\), [^ ]*'"$(line 'both write')" \
		'room in a socket whose other end is open in itself .*, the (child|parent)' \
		'circle: ' 'reason: .*both write, and neither reads'
}

@test "two locks in opposite order" {
	says opposite '^stuck' \
		"child 1 waits in pthread_mutex_lock\(\), [^ ]*$(line 'a then b')" \
		'mutex A, which child 2 holds' \
		"child 2 waits in pthread_mutex_lock\(\), [^ ]*$(line 'b then a')" \
		'mutex B, which child 1 holds' \
		'circle: child 1 waits for child 2, which waits for child 1' \
		'reason: .*in different orders'
}

@test "a lock whose holder has ended, and one whose holder waits for its heir" {
	says dead_holder '^stuck' 'mutex A, which process [0-9]+ took before it ended' \
		'reason: .*holder has ended without giving it back'
	grep -q "$(line heir)" "$STUCK/plain.dead_holder"
	says file_locks '^stuck' "waits in fcntl\([0-9]+\), [^ ]*$(line 'file lock')" \
		'the lock on .*, which the parent holds' 'circle: ' \
		'reason: the child wants the lock that the parent holds, and the parent waits for the child to end'
}

@test "a lock made for threads, in memory that processes share" {
	says for_threads '^stuck' \
		"the child waits in pthread_mutex_lock\(\), [^ ]*$(line 'only b')" \
		'mutex A, which the parent holds; only threads of its own process can' \
		"the parent waits in waitpid\(-1\), [^ ]*$(line 'who holds it')" \
		'reason: .*made for the threads of one process'
}

@test "a semaphore never posted, a condition never signalled" {
	says never_posted '^stuck' "the child waits in sem_wait\(\), [^ ]*$(line taker)" \
		'semaphore A, which is 0' 'reason: .*nobody is left to do it'
	says never_signalled '^stuck' \
		"the child waits in pthread_cond_wait\(\), [^ ]*$(line hearer)" \
		'condition variable A' 'reason: .*nobody is left to signal it'
}

@test "a thread that needs what the one who joins it holds" {
	says threads '^stuck' \
		"thread 2 of .* waits in pthread_mutex_lock\(\), [^ ]*$(line thread)" \
		'mutex A, which (plain|fast) holds' \
		"waits in pthread_join\(\), [^ ]*$(line joiner)" 'circle: '
}

# begin COMMAND... - in the background, in a group of its own; sets root
begin() {
	setsid "$@" 3>&- & root=$!
	echo $root >>"$BATS_TEST_TMPDIR/begun"
}

# Whatever a test left running, also when it failed.
teardown() {
	local group
	[ -e "$BATS_TEST_TMPDIR/begun" ] || return 0
	while read -r group; do
		kill -KILL -- "-$group" 2>/dev/null || true
	done <"$BATS_TEST_TMPDIR/begun"
}

# why_until TEXT PID - ask again until it has come as far; sets output
why_until() {
	local i
	for ((i = 0; i < 200; i++)); do
		run build/plain/why "$2"
		[[ $output =~ $1 ]] && return
	done
	fail "never said: $1"
}

# end_all - of the last report; the shell says nothing of it
end_all() {
	local pids
	mapfile -t pids < <(grep -o '(pid [0-9]*)' <<<"$output" | tr -dc '0-9\n')
	kill -KILL "${pids[@]}"
	wait "${pids[@]}" 2>/dev/null || true
}

@test "a busy loop burns CPU time, and does not wait" {
	local variant root
	for variant in plain fast; do
		says busy '^overtime'
		begin "$STUCK/$variant" busy
		why_until "the child \(pid [0-9]+\) burns CPU time, and does not wait .*, [^ ]*$(line spinner) .*reason: the child does not wait, it burns CPU time" $root
		end_all
	done
}

@test "who is only slow is not called stuck" {
	local variant
	for variant in plain fast; do
		assert_equal "$(cat "$STUCK/$variant.slow")" 'status 0'
	done
}

@test "a check tells where each lock was taken" {
	local taken wanted
	taken=$(line taken hang.c) wanted=$(line wanted hang.c)
	check_says 'opposite order' \
		"the caller waits in pthread_mutex_lock\(\), [^ ]*$wanted" \
		"mutex A, which the child holds \(taken at [^ ]*$taken" \
		"the child waits in pthread_mutex_lock\(\), [^ ]*$wanted" \
		"mutex B, which the caller holds \(taken at [^ ]*$taken" \
		'circle: ' 'reason: .*in different orders'
	taken=$(line 'got through' hang.c) wanted=$(line 'not posted' hang.c)
	check_says semaphores \
		"the caller waits in sem_wait\(\), [^ ]*$wanted" \
		"semaphore A, .*; the child got through it last, at [^ ]*$taken" \
		"the child waits in sem_wait\(\), [^ ]*$wanted" \
		"semaphore B, .*; the caller got through it last, at [^ ]*$taken" \
		'circle: ' 'reason: .*in different orders'
	check_says death "the caller waits .*$(line heir hang.c)" \
		"took before it ended \(taken at [^ ]*$(line 'died with it' hang.c)" \
		'reason: .*without giving it back'
}

@test "a check tells the circle of a full pipe, and who waits for a condition" {
	check_says 'full pipe' "the child waits in write.*$(line writer hang.c)" \
		'read end is open in itself .*, the caller' \
		"the caller waits in wait\(\).*$(line 'who should read' hang.c)" \
		'circle: the caller waits for the child, which waits for the caller' \
		'reason: The pipe is full'
	check_says condition \
		"the child waits in pthread_cond_wait\(\), [^ ]*$(line c hang.c)" \
		'reason: the child waits for a condition variable'
}

@test "why explains a running program, asked at its parent or at its child" {
	local root child text
	begin "$STUCK/plain" full_pipe
	why_until 'reason: The pipe is full' $root
	text=$output
	child=$(sed -n 's/^the child (pid \([0-9]*\)).*/\1/p' <<<"$output")
	run build/plain/why "$child"
	end_all
	assert_success
	assert_output "$text"
}

@test "why says that somebody is stopped, and leaves no trace where it looked" {
	local root pid
	begin sleep 600
	pid=$root
	why_until 'is not stuck: sleep waits with a time limit' $pid
	kill -STOP $pid
	why_until 'is stopped by a signal' $pid
	run build/plain/why $pid
	assert_output --partial 'reason: sleep is stopped by a signal'
	assert_equal "$(sed 's/.*) //; s/ .*//' /proc/$pid/stat)" T
	end_all
}

@test "why says what is wrong with a number that is none of a process" {
	local word
	for word in x -5 0 4194999 99999999999; do
		run tests/commands/why "$word"
		assert_equal "$status" 2
		assert_output --regexp '^why: .*'
	done
	run tests/commands/why
	assert_equal "$status" 2
	assert_output --partial 'PID='
}

# A process that is not to be dumped is not to be looked into either.
@test "why says where the system forbids to look" {
	[ "$(id -u)" = 0 ] || skip 'only root can become somebody else'
	local nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups) root pid
	cp build/plain/why "$STUCK/why"
	chmod 755 "$STUCK" "$BATS_RUN_TMPDIR" "$STUCK/why"
	run "${nobody[@]}" "$STUCK/why" $$
	assert_equal "$status" 2
	assert_output --partial 'belongs to another user'
	begin "${nobody[@]}" "$STUCK/plain" hidden
	pid=$root
	why_until 'hidden .* waits in pause' $pid
	run "${nobody[@]}" "$STUCK/why" $pid
	end_all
	assert_output --partial 'does not let me look into these processes'
}
