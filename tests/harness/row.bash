# print_row FIELD... - one line of a table: whatever the fields hold breaks
# none. report reads them back.
print_row() {
	local f line=
	for f in "$@"; do
		f=${f//\\/\\\\}
		f=${f//$'\t'/\\t}
		line+=${line:+$'\t'}${f//$'\n'/\\n}
	done
	printf '%s\n' "$line"
}
