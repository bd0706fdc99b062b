#!/bin/sh
# Runs `podpace check` for a CI system: JUnit and Markdown into a folder, on GitHub annotations and a step summary too.
#   PODPACE_PATHS     scenarios, experiments, folders; one a line
#   PODPACE_BASELINE  folder of earlier results (optional)
#   PODPACE_REPORT    folder for junit.xml and summary.md [podpace-report]
#   PODPACE_BIN       the binary [podpace]
# Ends with podpace's exit code: 0 pass, 2 bad input, 3 a threshold or expectation failed, 4 worse than the baseline.
set -eu
report=${PODPACE_REPORT:-podpace-report}
mkdir -p "$report"

set -- --junit "$report/junit.xml" --markdown "$report/summary.md"
if [ -n "${PODPACE_BASELINE:-}" ]; then
  set -- "$@" --baseline "$PODPACE_BASELINE"
fi
if [ -n "${GITHUB_ACTIONS:-}" ]; then
  set -- "$@" --annotations
fi
# A path a line: blanks within a path stay, blanks around it and empty lines don't.
while IFS= read -r path; do
  path=$(printf '%s' "$path" | sed 's/^[[:space:]]*//;s/[[:space:]]*$//')
  if [ -n "$path" ]; then
    set -- "$@" "$path"
  fi
done <<PATHS
${PODPACE_PATHS:?name scenarios, experiments or folders of them, one a line}
PATHS

code=0
"${PODPACE_BIN:-podpace}" --quiet check "$@" || code=$?
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$report/summary.md" ]; then
  cat "$report/summary.md" >>"$GITHUB_STEP_SUMMARY"
fi
exit "$code"
