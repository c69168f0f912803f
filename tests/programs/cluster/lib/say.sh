# Words to the person at the terminal; standard output is left to results.

say() { printf 'cluster: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}
