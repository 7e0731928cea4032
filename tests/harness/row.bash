# line_of FIELD... - in $line, the fields as a line of a table: whatever they
# hold breaks none. report reads them back.
line_of() {
	local f
	line=
	for f in "$@"; do
		f=${f//\\/\\\\}
		f=${f//$'\t'/\\t}
		line+=${line:+$'\t'}${f//$'\n'/\\n}
	done
}
