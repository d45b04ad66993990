# Reads `go test -v`: one line for each test that told a figure or took its time, and the whole story of those that failed.

function top(name) { sub(/\/.*/, "", name); return name }

/^=== (RUN|NAME|CONT) / { current = top($3); next }
/^ +[a-z_0-9]+_test\.go:[0-9]+: figure: / {
  text = $0
  sub(/^.*: figure: /, "", text)
  figures[current] = figures[current] "    " text "\n"
}
/^ +[a-z_0-9]+_test\.go:[0-9]+: / { story[current] = story[current] $0 "\n" }
/^--- / {
  name = $3
  seconds = $4
  gsub(/[()s]/, "", seconds)
  tests++
  if ($2 == "FAIL:") printf "  FAILED %-60s %8.1f s\n%s", name, seconds, story[name]
  else if (name in figures || seconds >= 5) printf "  %-67s %8.1f s\n%s", name, seconds, figures[name]
}
/^(panic:|fatal error:|WARNING: DATA RACE)|\[(build|setup) failed\]/ { print "  " $0 }
END { printf "  %d tests\n", tests }
