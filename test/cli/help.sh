#!/bin/bash
# parallel: yes
# What the program says of itself, its man pages and its completion agree, both ways.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"

NIXSTORE=${NIXSTORE:-$BUILDDIR/nixstore}
MOUNT=${NIXSTORE_MOUNT:-$BUILDDIR/nixstore-mount}
FUSE=${NIXSTORE_FUSE:-$BUILDDIR/nixstore-fuse}
tap_need_file "$NIXSTORE"

commands=$("$NIXSTORE" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]\+\) .*/\1/p' | grep -vx help)
like "there are commands" "$commands" '^import$'

# help_options: the long options in a --help on stdin, with their arguments.
help_options() { sed -nE 's/^  +(-[a-zA-Z], )?(--[a-z-]+)[ =]?(.*)/\2/p' | sort; }

# man_options FILE: the long options that a page defines, each in the line after a .TP.
man_options() {
  sed -n '/^\.TP$/{n;p}' "$1" | sed 's/\\-/-/g; s/\\f[BIR]//g' |
    grep -oE -- '--[a-z][a-z-]+' | sort
}

for command in $commands; do
  page=$SRCDIR/doc/nixstore-$command.1
  check "$command: has a man page" test -e "$page" || continue
  is "$command: man page and --help have the same options" \
    "$(man_options "$page")" "$("$NIXSTORE" "$command" --help | help_options)"
  is "$command: help COMMAND is COMMAND --help" \
    "$("$NIXSTORE" help "$command")" "$("$NIXSTORE" "$command" --help)"
  # Short ones too.
  is "$command: the same short options" \
    "$(sed -n '/^\.TP$/{n;p}' "$page" | sed 's/\\-/-/g; s/\\f[BIR]//g' | sed -nE 's/^(-[a-zA-Z]), .*/\1/p' | sort)" \
    "$("$NIXSTORE" "$command" --help | sed -nE 's/^ +(-[a-zA-Z]), .*/\1/p' | sort)"
  like "$command: nixstore(1) names it" "$(cat "$SRCDIR/doc/nixstore.1")" "nixstore..?$command "
  summary=$("$NIXSTORE" --help | sed -n "s/^  $command  *//p")
  check "$command: nixstore(1) says of it what --help says" \
    grep -qxF "$summary." "$SRCDIR/doc/nixstore.1"
  check "$command: lines of --help fit a terminal" \
    test "$("$NIXSTORE" "$command" --help | wc -L)" -le 100
done
for page in "$SRCDIR"/doc/nixstore-*.1; do
  command=${page##*/nixstore-}; command=${command%.1}
  like "${page##*/} is about a command that exists" "$commands" "^$command\$"
done
is "nixstore(1) and --help have the same options" \
  "$(man_options "$SRCDIR/doc/nixstore.1")" "$("$NIXSTORE" --help | help_options)"
if [ -e "$MOUNT" ]; then
  is "nixstore-mount: man page and --help have the same options" \
    "$(man_options "$SRCDIR/doc/nixstore-mount.8")" "$("$MOUNT" --help | help_options)"
  is "nixstore-mount: the help, the page and the example name the modes that exist" \
    "$("$MOUNT" --help | grep -o 'auto, .* or bind'; sed -n 's/.*(\(auto, .* or bind\)).*/\1/p;s/.*: \(auto, .* or bind\)\.$/\1/p' "$SRCDIR/contrib/nixstore.conf")" \
    "$(modes=$("$MOUNT" --mode nosuch -o lowerdir=/ / 2>&1 | sed -nE 's/.*\(known: (.*)\)$/\1/p'); for i in 1 2; do echo "${modes%, *} or ${modes##*, }"; done)"
  is "nixstore-mount(8) explains each" \
    "$(sed -n '/^\.SH MODES/,/^\.SH FILES/p' "$SRCDIR/doc/nixstore-mount.8" | sed -n '/^\.TP$/{n;s/^\.B //p}' | tr '\n' ' ')" \
    "$("$MOUNT" --mode nosuch -o lowerdir=/ / 2>&1 | sed -nE 's/.*\(known: (.*)\)$/\1/p' | tr -d ',') "
  like "nixstore-mount --version" "$("$MOUNT" --version)" '^nixstore-mount [0-9]'
fi

if [ -e "$FUSE" ]; then
  is "nixstore-fuse: man page and --help have the same options" \
    "$(man_options "$SRCDIR/doc/nixstore-fuse.8")" "$("$FUSE" --help | help_options)"
fi

# nixstore.conf(5) and the example have the keys that exist: an unknown one is refused.
keys=$(sed -n '/^\.SH KEYS/,/^\.SH/p' "$SRCDIR/doc/nixstore.conf.5" | sed -n '/^\.TP$/{n;p}' |
  sed -nE 's/^\.BR ([a-z_]+) .*/\1/p' | sort)
is "the example has the keys of nixstore.conf(5)" \
  "$(sed -nE 's/^#([a-z_]+)=.*/\1/p' "$SRCDIR/contrib/nixstore.conf" | sort)" "$keys"
is "nixstore.conf(5) has the keys that are read" "$keys" \
  "$(sed -nE 's/^ *\{ ?"([a-z_]+)", "NIXSTORE_.*/\1/p' "$SRCDIR/driver/settings.c" | sort)"
is "nixstore(1) has the variables that are read" \
  "$(sed -n '/^\.SH ENVIRONMENT/,/^\.SH FILES/p' "$SRCDIR/doc/nixstore.1" | grep -o 'NIXSTORE_[A-Z_]*' | sort)" \
  "$(grep -o '"NIXSTORE_[A-Z_]*' "$SRCDIR/driver/settings.c" | tr -d '"' | sort)"
mkdir -p "$T/config/nixstore"
for key in $keys; do
  printf '[nixstore]\n%s=/nosuch\n' "$key" >"$T/config/nixstore/nixstore.conf"
  OUT=$(XDG_CONFIG_HOME=$T/config "$NIXSTORE" verify /nix/store/00000000000000000000000000000000-a 2>&1)
  check "the key $key is known" test -z "$(grep 'unknown key' <<<"$OUT")"
done

if command -v groff >/dev/null; then
  for page in "$SRCDIR"/doc/*.[1-8]; do
    is "${page##*/}: groff has no complaints" "$(groff -man -ww -z -Tutf8 "$page" 2>&1)" ""
  done
else
  tap_skip "the man pages' markup" "groff is not installed"
fi
if command -v mandoc >/dev/null; then
  is "mandoc has no complaints" "$(mandoc -Tlint -W warning "$SRCDIR"/doc/*.[1-8] 2>&1)" ""
else
  tap_skip "the man pages' markup, by mandoc" "mandoc is not installed"
fi

# The command line.
like "--version" "$("$NIXSTORE" --version)" '^nixstore [0-9]+\.[0-9]+'
check_fails "no command" 2 'no command given \(see `nixstore --help' "$NIXSTORE"
check_fails "an unknown command" 2 "unknown command .frobnicate'" "$NIXSTORE" frobnicate
check_fails "an unknown option instead of a command" 2 'unknown option' "$NIXSTORE" --frobnicate
check_fails "help for an unknown command" 2 'unknown command' "$NIXSTORE" help frobnicate
check_fails "an unknown option" 2 'Unknown option --frobnicate \(see `nixstore help import' \
  "$NIXSTORE" import --frobnicate
check_fails "an argument is missing" 2 'STOREPATH is missing' "$NIXSTORE" import
check_fails "one of two is missing" 2 'arguments are missing: STOREPATH.IMAGE DEST' "$NIXSTORE" export x
check_fails "one too many" 2 'too many arguments' "$NIXSTORE" import a b
check_fails "-- ends the options" 1 '^nixstore: --json is not in' "$NIXSTORE" import -- --json
check_fails "a full disk under standard output" 1 'write standard output: No space' \
  bash -c "exec '$NIXSTORE' --help >/dev/full"

# Without them what is opened next would be standard output, and get what is printed.
cat >"$T/podman" <<'END'
#!/bin/sh
for n in 0 1 2; do readlink /proc/$PPID/fd/$n; done >"$T/descriptors"
END
chmod +x "$T/podman"
T=$T "$NIXSTORE" list --podman "$T/podman" <&- >&- 2>&-
is "standard input, output and error stay what they are, also closed" \
  "$(cat "$T/descriptors")" "$(printf '/dev/null\n%.0s' 1 2 3)"

# Completion, in a bash of its own.
complete_line() {
  bash -c '
    . "$1"; shift
    line=$1
    # Split as readline does it with the usual COMP_WORDBREAKS.
    mapfile -t COMP_WORDS < <(sed -E "s/[:=]+/ & /g" <<<"$line" | xargs -n1 printf "%s\n")
    [[ $line != *[\ :=] ]] || COMP_WORDS+=("")
    COMP_LINE=$line COMP_POINT=${#line} COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    compopt() { :; }
    nixstore() { :; }
    _nixstore "$2" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf "%s\n" "${COMPREPLY[@]}"' bash "$SRCDIR/contrib/completion/nixstore" "$1" "$NIXSTORE" | sort
}
is "completion offers the commands" "$(complete_line 'nixstore ')" \
  "$({ echo "$commands"; echo help; } | sort)"
is "completion of a command" "$(complete_line 'nixstore ins')" inspect
for command in $commands; do
  is "$command: completion offers the options" "$(complete_line "nixstore $command --")" \
    "$("$NIXSTORE" "$command" --help | help_options)"
done
is "completion after help" "$(complete_line 'nixstore help ve')" verify
is "completion of a value" "$(complete_line 'nixstore import --storage-driver n')" nixstore
is "completion of a value after =" "$(complete_line 'nixstore import --storage-driver=n')" nixstore
touch "$T/tmp/image.tar"
is "completion of a file after a transport" \
  "$(complete_line "nixstore export /x oci-archive:$T/tmp/im")" "$T/tmp/image.tar"
is "completion of a transport" "$(complete_line 'nixstore export /x docker-a')" docker-archive:
tap_done
