#!/usr/bin/env bats
# The program of lab 07: its rows, and whether they fit together. How fast
# anything is, is never judged.

load ../harness/harness

head_line='mode,workers,chunk,seconds,cpu_seconds,speedup,efficiency,result'
numbers='L07-20 A reader cannot tell what this number means.'
same='L07-11 Some items were done twice or not at all.'
ratios='L07-07 Faster must give a number above one.'
waited='L07-01 That clock does not go on while we sleep, or knows whole seconds only.'
used='L07-17 You added up how long all waited, instead of what they used of a processor.'
shared_out='Each worker takes what nobody has taken, as long as there is anything.'
death='A worker that is lost takes its results with it: there is no row.'
silent='The functions of a lab do their work in silence; to tell is the program'"'"'s part.'
clean='A program is over when everything that it started is over.'
twin='The Python program does the same job.'


# column N - of the rows
column() { tail -n +2 <<<"$output" | cut -d , -f "$1"; }

# rows_are MODE,WORKERS,CHUNK... - in this order, and all well
rows_are() {
	expect_first_line "$head_line" "$numbers"
	expect_equal "$(column 1-3 | tr '\n' ' ')" "$* " "$shared_out"
	expect_status 0 'All went well.'
	expect_no_stderr "$silent"
	expect_clean "$clean"
}

# results_are NUMBER - in each row
results_are() { expect_equal "$(column 8 | sort -u)" "$1" "$same"; }

# all_rows AWK-EXPRESSION WHY - true in each row; $0 of the first that is not.
# T, C, S, E: seconds, cpu_seconds, speedup, efficiency; T1: serial seconds
all_rows() {
	local bad
	bad=$(column 1- | awk -F , '
		function near(a, b) { d = a - b; return d * d <= (1e-6 + 0.001 * b) ^ 2 }
		{ T = $4; C = $5; S = $6; E = $7; W = $2 }
		NR == 1 { T1 = T }
		!('"$1"') { print; exit }')
	[ -z "$bad" ] || fails "$2" "$1" "$bad"
}

@test "a row for each way, and all ways find the same" {
	supervise bench --csv --rounds 1 --warmups 0
	results_are 2164435236
	rows_are serial,1,4 gil,{1,2,4},1 threads,{1,2,4},1 processes,{1,2,4},1
}

@test "speed-up and efficiency are what the seconds say" {
	supervise bench --csv --rounds 3 --times 5 --workers 1,3 --chunks 1,2
	all_rows 'T > 0 && near(S, T1 / T)' "$ratios"
	all_rows 'near(E, S / W)' 'The share of a worker is the speed-up divided by their number.'
	rows_are serial,1,4 {gil,threads,processes},{1,3},{1,2}
	results_are 10822176180
}

@test "who pauses takes that long, and uses no processor" {
	supervise bench --csv --work sleep --seconds 0.05 --workers 2
	all_rows 'T >= 0.0999' "$waited"
	all_rows 'NR > 1 || T >= 0.1999' "$waited"
	all_rows 'C < 0.05' "$used"
	rows_are serial,1,4 gil,2,1 threads,2,1 processes,2,1
	results_are 10
}

@test "chunks of any size, and more workers than items" {
	supervise bench --csv --work tiny --n 1000 --workers 2,7 --rounds 1 \
		--chunks 1,7,999,1000,5000 --modes threads,processes
	results_are 13757326270499384616
	expect_equal "$(column 1 | wc -l)" 21 "$shared_out"
	supervise bench --csv --n 1 --workers 5 --rounds 1
	results_are 541108809
	supervise bench --csv --work tiny --n 0 --workers 3 --rounds 1 --chunks 2
	results_are 0
	rows_are serial,1,0 threads,3,2 processes,3,2
}

@test "the timeline has each item once, done by one of the workers" {
	local file=$BATS_TEST_TMPDIR/timeline
	supervise bench --csv --n 40 --workers 3 --chunks 3 --rounds 1 \
		--timeline "$file"
	expect_status 0 'All went well.'
	output=$(cat "$file")
	expect_first_line 'mode,workers,chunk,worker,item,start,end,core' "$numbers"
	expect_equal "$(column 1,5 | sort | uniq | wc -l)" 160 "$same"
	expect_equal "$(column 1- | wc -l)" 160 "$same"
	expect_equal "$(column 1- | awk -F , \
		'!($4 < $2 && 0 <= $6 && $6 < $7 && $8 ~ /^[0-9]+$/)' |
		head -n 1)" '' "$shared_out"
}

@test "for people there is a table, with the cores that were free" {
	supervise bench --workers 2 --rounds 2 --warmups 0
	expect_first_line '4 items: factorial(5000), 1 time each' "$numbers"
	expect_matches 'rounds: 2, after 0 to warm up; cores: [0-9]+' "$numbers"
	expect_equal "$(awk '/^(serial|gil|threads|processes) +[0-9]+ +[0-9]+ +[0-9.]+ (s|ms|us|ns) +[0-9.]+ (s|ms|us|ns) +[0-9.]+ +[0-9.]+ +[0-9.]+$/' <<<"$output" |
		wc -l)" 4 "$numbers"
	expect_status 0 'All went well.'
	expect_no_stderr "$silent"
	expect_clean "$clean"
}

@test "the numbers are the same in any language, to a file, a pipe, a terminal" {
	local kind
	for kind in file pipe tty; do
		supervise --kind "$kind" env LC_ALL=de_DE.UTF-8 bench --csv \
			--workers 2 --rounds 1 --modes processes
		expect_matches '^[a-z_,]+'$'\n''serial,1,4,[0-9]+\.[0-9]{9},[0-9]+\.[0-9]{9},1\.000000,1\.000000,[0-9]+'$'\n' "$numbers"
		rows_are serial,1,4 processes,2,1
	done
	script 'trap "" CHLD; exec bench --csv --workers 2 --rounds 1 --modes processes <&-'
	rows_are serial,1,4 processes,2,1
}

@test "what cannot be told is a failure" {
	with_the_solution_only
	script 'bench --csv --n 1 --workers 1 --rounds 1 >&-'
	expect_status 1 'Rows that cannot be told are a failure.'
	expect_stderr 'cannot write to stdout' 'It says what it could not do.'
	supervise bench --csv --n 1 --workers 1 --rounds 1 --timeline /dev/full
	expect_status 1 'A timeline that cannot be written is a failure.'
	expect_stderr 'cannot write /dev/full: No space' 'It says what it could not do.'
	supervise bench --csv --timeline /no/such/folder
	expect_status 1 'A timeline that cannot be written is a failure.'
	expect_output '' 'It finds that out before it measures.'
	expect_clean "$clean"
}

@test "when a worker is killed there is no row for it, and nobody is left" {
	with_the_solution_only
	local program
	for program in bench "python3 $PWD/labs/07-benchmarks/demo/bench.py"; do
		# shellcheck disable=SC2016
		script "$program"' --csv --work sleep --seconds 0.6 --n 3 --workers 3 \
			--modes processes & parent=$!
			until_started $parent 3
			kill -KILL ${leaves[0]} 2>/dev/null
			wait $parent'
		[ "$(wc -l <<<"$output")" = 2 ] ||
			skip 'all were through before one could be killed'
		expect_status 1 "$death"
		expect_stderr 'bench(.py)?: cannot run 3 processes: Owner died' \
			"$death"
		expect_clean "$clean"
	done
}

@test "when the parent is killed nobody goes on" {
	with_the_solution_only
	# shellcheck disable=SC2016
	script 'bench --csv --work sleep --seconds 0.6 --n 3 --workers 3 \
			--modes processes >/dev/null & parent=$!
		until_started $parent 3
		kill -KILL $parent
		wait $parent
		until_gone "${leaves[@]}"'
	expect_status 0 "$clean"
	expect_clean "$clean"
}

@test "when not all processes can be started there is no row" {
	with_the_solution_only
	local few=() program work
	allow_processes 3 bench
	for program in bench "python3 -B $PWD/labs/07-benchmarks/demo/bench.py"; do
		for work in 'factorial --modes processes --rounds 1' 'memory --data 1'; do
			# shellcheck disable=SC2086
			supervise "${few[@]}" $program --csv --work $work --workers 5
			[[ $output != *processes,5* && $output != *idle,5* ]] ||
				skip 'the number of processes cannot be limited here'
			expect_status 1 "$death"
			expect_stderr 'bench(.py)?: cannot run 5 (processes|threads): ' \
				"$death"
			expect_clean "$clean"
		done
	done
}

@test "what a process costs that does nothing, and one that writes" {
	with_the_solution_only
	local program
	for program in bench "python3 labs/07-benchmarks/demo/bench.py"; do
		# shellcheck disable=SC2086
		supervise $program --csv --work memory --workers 2 --data 16
		expect_first_line mode,workers,data_kib,resident_kib,added_kib,page_tables_kib \
			"$numbers"
		expect_equal "$(column 1-3 | tr '\n' ' ')" \
			'threads,2,16384 idle,2,16384 readers,2,16384 writers,2,16384 ' \
			"$numbers"
		expect_equal "$(column 1- | awk -F , '
			$1 == "idle" && !($4 > 16384 && $5 < 8192 && $6 > 0) ||
			$1 == "writers" && $5 < 15000')" '' \
			'A page that only one process has is counted for that one.'
		expect_status 0 'All went well.'
		expect_clean "$clean"
	done
}

@test "what is not understood is a usage error" {
	with_the_solution_only
	local a program
	for a in '--work' '--work nothing' '--n -1' '--n x' '--n 1e3' \
		'--workers 0' '--workers 1,,2' '--workers 1,x' '--workers ,' \
		'--workers 2000' '--workers 1-4' '--chunks 0' '--chunks 1,0' \
		'--chunks 99999999999999999999' '--rounds 0' '--rounds x' \
		'--warmups -1' '--times 0' '--seconds -1' '--seconds x' \
		'--seconds nan' '--modes fast' '--modes gil,,threads' \
		'--data -1' '--csv=1' '--unknown' surplus \
		"--workers $(seq -s , 40)"; do
		# shellcheck disable=SC2086
		expect_usage_error bench $a
	done
	for a in '--work nothing' '--workers 0' '--workers 1,,2' '--rounds 0' \
		'--seconds nan' '--modes fast' '--data -1' surplus; do
		# shellcheck disable=SC2086
		expect_usage_error python3 labs/07-benchmarks/demo/bench.py $a
	done
	supervise bench --help
	expect_status 0 'Who asks for help has made no mistake.'
	expect_matches '^usage: bench' 'It says how it is used.'
}

@test "the Python twin prints the same rows" {
	with_the_solution_only
	local a rows python=labs/07-benchmarks/demo/bench.py
	for a in '' '--work tiny --n 100 --chunks 1,7,200 --modes gil,processes' \
		'--work sleep --seconds 0.01 --workers 1,3' \
		'--n 0 --workers 3'; do
		# shellcheck disable=SC2086
		supervise bench --csv --rounds 1 --warmups 0 $a
		rows=$(grep -v '^threads' <<<"$output" | cut -d , -f 1-3,8)
		# shellcheck disable=SC2086
		supervise python3 $python --csv --rounds 1 --warmups 0 $a
		output=$(cut -d , -f 1-3,8 <<<"$output" | sed 's/^threads/gil/')
		expect_output "$rows" "$twin"
		expect_status 0 "$twin"
		expect_no_stderr "$twin"
		expect_clean "$clean"
	done
	supervise python3 $python --workers 2 --rounds 1
	expect_first_line '4 items: factorial(5000), 1 time each' "$twin"
	expect_matches $'\nprocesses        2       1 ' "$twin"
}
