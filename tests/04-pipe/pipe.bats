#!/usr/bin/env bats
# The programs of lab 04: what is said and heard, in which order, how it ends,
# and what happens when one side is killed in the middle of it.

load ../harness/harness

talk='L04-02 Each message arrives whole, and as one message.'
empty='L04-10 An empty message is a message, and no end of file.'
over='L04-08 The end of file comes when nobody has the other end any more.'
both='L04-14 Both sides talk at the same time, and neither may wait for the other to listen.'
death='A side that is lost in the middle of the talk is a failure, and must be told.'
names='The names are gone when the two have met.'
silent='The functions of a lab do their work in silence; to tell is the program'"'"'s part.'
clean='A program is over when everything that it started is over.'
all='All processes have completed'

# rounds ASKS ANSWERS COUNT - the lines of so many questions and answers
rounds() {
	local i
	for ((i = 0; i < $3; i++)); do
		printf '%s\n' "$1 sent: ping $i" "$2 received: ping $i" \
			"$1 received: pong $i"
	done
}

ends=$'Child: end of file\nParent: end of file\n'$all

# until_at PATH PID - wait until the name is there, or the process is not
until_at() {
	while [ ! -e "$1" ] && kill -0 "$2"; do :; done
}

# script TEXT - a piece of bash, which may use these, under the supervisor
export -f until_at

expect_well() {	# LINES WHY
	expect_output "$1" "$2"
	expect_status 0 'All went well.'
	expect_no_stderr "$silent"
	expect_clean "$clean"
}

@test "a parent and its child send each other three messages" {
	supervise duplex
	[[ $output == *"$ends" ]] ||
		expect_well "$(rounds Parent Child 3)"$'\n'"$ends" "$over"
	expect_well "$(rounds Parent Child 3)"$'\n'"$ends" "$talk"
}

@test "any number of messages, to a file, a pipe and a terminal" {
	supervise duplex --count 0
	expect_well "$ends" "$empty"
	supervise --kind pipe duplex --count 300
	expect_well "$(rounds Parent Child 300)"$'\n'"$ends" "$talk"
	supervise --kind tty duplex --count 2
	expect_well "$(rounds Parent Child 2)"$'\n'"$ends" "$talk"
}

@test "messages of any size go there and back while both sides talk" {
	local n size sum
	for n in '1 00030002' '3000 8e966811' '100000 cb9f539c' \
		'5000000 2c20a52c'; do
		size=${n% *} sum=${n#* }
		supervise duplex --count 2 --size "$size"
		expect_well "$(rounds Parent Child 2
			echo "messages=2 bytes=$size checksum=$sum")"$'\n'"$ends" \
			"$both"
	done
}

@test "one way: the child sends, the parent receives" {
	local sent=$'Child sent: ping 0\nChild sent: ping 1\n'
	sent+=$'Parent received: ping 0\nParent received: ping 1\n'
	supervise duplex --simplex --count 2
	expect_lines "$sent"$'Parent: end of file\n'"$all" "$talk"
	expect_last_line "$all" "$over"
	expect_status 0 'All went well.'
	expect_no_stderr "$silent"
	supervise duplex --simplex --count 2 --size 1000000
	sent+=$'messages=2 bytes=1000000 checksum=807f836a\n'
	expect_lines "$sent"$'Parent: end of file\n'"$all" "$talk"
	expect_clean "$clean"
}

@test "two programs that are not related meet at a name" {
	# shellcheck disable=SC2016
	script 'fifo --serve "$TMPDIR/door" >"$TMPDIR/server" & server=$!
		until_at "$TMPDIR/door" $server
		fifo --count 2 --size 2000000 "$TMPDIR/door" >"$TMPDIR/client"
		client=$?
		wait $server
		server=$?
		cd "$TMPDIR"
		sed "s,$TMPDIR/,," server client
		rm server client
		echo "left: $(echo *)"
		exit $((client + server))'
	expect_output "Server: waiting at door
Server received: ping 0
Server received: ping 1
Server: end of file
Client sent: ping 0
Client received: pong 0
Client sent: ping 1
Client received: pong 1
messages=2 bytes=2000000 checksum=1cc908e2
left: *" "$names"
	expect_status 0 'All went well.'
	expect_no_stderr "$silent"
	expect_clean "$names"
}

@test "nobody there, and somebody there already" {
	# shellcheck disable=SC2016
	script 'fifo "$TMPDIR/door"'
	expect_status 1 'Who finds nobody says so.'
	expect_output '' 'Nothing was said.'
	expect_stderr 'fifo: nobody waits at' 'Who finds nobody says so.'
	# shellcheck disable=SC2016
	script 'echo mine >"$TMPDIR/door"; fifo --serve "$TMPDIR/door"
		status=$?; cat "$TMPDIR/door"; rm "$TMPDIR/door"; exit $status'
	expect_status 1 'A name that is there already belongs to somebody.'
	expect_last_line mine 'A name that is there already belongs to somebody.'
	expect_stderr 'fifo: cannot wait at .*: File exists' \
		'It says what it could not do.'
	expect_clean "$names"
}

@test "when the child is killed the parent says so" {
	# shellcheck disable=SC2016
	script 'duplex --count 1000000 >/dev/null & parent=$!
		until_started $parent 1
		kill -KILL $leaves
		wait $parent'
	expect_status 1 "$death"
	expect_stderr 'duplex: ' "$death"
	expect_clean "$clean"
}

@test "when the parent is killed the child ends" {
	# shellcheck disable=SC2016
	script 'duplex --count 1000000 >/dev/null & parent=$!
		until_started $parent 1
		kill -KILL $parent
		wait $parent
		until_gone "${tree[@]}"'
	expect_clean "$over"
	# shellcheck disable=SC2016
	script 'duplex --count 1000000 --simplex >/dev/null & parent=$!
		until_started $parent 1
		kill -KILL $parent
		wait $parent
		until_gone "${tree[@]}"'
	expect_clean "$clean"
}

@test "started with SIGCHLD or SIGPIPE ignored, or with no input and output" {
	with_the_solution_only
	local lines
	lines=$(rounds Parent Child 1)$'\n'$ends
	script 'trap "" CHLD PIPE; exec duplex --count 1'
	expect_well "$lines" 'Who starts a program does not decide how it waits.'
	script 'exec duplex --count 1 <&-'
	expect_well "$lines" 'The program reads nothing.'
	script 'duplex --count 1 >&-'
	expect_status 1 'What cannot be told is a failure.'
	expect_stderr 'cannot write to stdout' 'It says what it could not do.'
	expect_clean "$clean"
}

@test "what is not understood is a usage error" {
	with_the_solution_only
	local a
	for a in '--count -1' '--count abc' '--count 1x' '--count 1000001' \
		'--count' '--size -1' '--size 16777217' '--size 1e3' \
		'--simplex=1' '--unknown' surplus; do
		# shellcheck disable=SC2086
		expect_usage_error duplex $a
	done
	for a in '' 'one two' '--serve' '--count x door' '--size -1 door'; do
		# shellcheck disable=SC2086
		expect_usage_error fifo $a
	done
	supervise duplex --help
	expect_status 0 'Who asks for help has made no mistake.'
	expect_matches '^usage: duplex' 'It says how it is used.'
	supervise fifo --help
	expect_status 0 'Who asks for help has made no mistake.'
	expect_matches '^usage: fifo' 'It says how it is used.'
}

@test "the Python twins print the same lines" {
	with_the_solution_only
	local a wanted twins=labs/04-pipe/demo
	for a in '' '--count 2 --size 500000'; do
		# shellcheck disable=SC2086
		supervise duplex $a
		wanted=$output
		# shellcheck disable=SC2086
		supervise python3 $twins/duplex.py $a
		expect_well "$wanted" 'The Python program does the same job.'
	done
	supervise duplex --simplex --size 70000
	wanted=$output
	supervise python3 $twins/duplex.py --simplex --size 70000
	expect_lines "$wanted" 'The Python program does the same job.'
	expect_usage_error python3 $twins/duplex.py --size 16777217
	expect_usage_error python3 $twins/fifo.py --count 1
	supervise python3 $twins/fifo.py "$BATS_TEST_TMPDIR/door"
	expect_status 1 'Who finds nobody says so.'
	expect_stderr 'nobody waits at' 'Who finds nobody says so.'
}

@test "a C program and a Python program understand each other" {
	with_the_solution_only
	# shellcheck disable=SC2016
	local pair meeting='
		$SERVER --serve "$TMPDIR/door" >"$TMPDIR/server" & server=$!
		until_at "$TMPDIR/door" $server
		$CLIENT --count 1 --size 400000 "$TMPDIR/door"
		wait $server
		tail -n +2 "$TMPDIR/server"
		rm "$TMPDIR/server"'
	local twin="python3 $PWD/labs/04-pipe/demo/fifo.py"
	for pair in "SERVER=fifo CLIENT='$twin'" "SERVER='$twin' CLIENT=fifo" \
		"SERVER='$twin' CLIENT='$twin'"; do
		script "$pair$meeting"
		expect_well 'Client sent: ping 0
Client received: pong 0
messages=1 bytes=400000 checksum=d8d90063
Server received: ping 0
Server: end of file' 'A message looks the same on its way in C and in Python.'
	done
}
