#!/bin/sh
# Three devices, no server, no account: a Raspberry Pi lets a laptop use it, the laptop passes on a
# part of that right to a phone, the phone has the Pi compute something, the Pi takes it back.
#
#     sh examples/ucan/story.sh
#
# Each device is a home of its own in a temporary folder. What they send to each other is a file or
# a line of text; here it is the files *.ucan. None of them is a secret: a token names who may use
# it, and only who has that key can.
set -eu

module=$(dirname "$0")/../wat/add.wasm
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT

pi()     { ipvm --home "$there/pi" "$@"; }
laptop() { ipvm --home "$there/laptop" "$@"; }
phone()  { ipvm --home "$there/phone" "$@"; }
say()    { printf '\n# %s\n' "$*"; }

say "Each device has a key of its own; its name follows from it."
PI=$(pi id -q) LAPTOP=$(laptop id -q) PHONE=$(phone id -q)
printf '%s\n' "pi      $PI" "laptop  $LAPTOP" "phone   $PHONE"

say "The Pi lets the laptop run WebAssembly on it, for a week. That is a token, 0.4 KB of text."
pi ucan delegate --to "$LAPTOP" --cmd /wasm/run --exp 7d > "$there/laptop.ucan"
cat "$there/laptop.ucan"

say "The laptop keeps it, and gives the phone less: only the function add, only for a day."
laptop ucan import "$there/laptop.ucan"
laptop ucan delegate --to "$PHONE" --cmd /wasm/run --subject "$PI" --exp 1d \
    --policy '["==", ".input.func", "add"]' > "$there/phone.ucan"

say "What the phone gets holds the whole chain, and says what it allows."
phone ucan import "$there/phone.ucan"
phone ucan inspect "$there/phone.ucan"

say "The phone asks the Pi for 2 + 40. The Pi has the module; it is named by its hash."
pi add "$module"
phone ucan invoke --subject "$PI" "$module:add" 2 40 > "$there/job.ucan"

say "The Pi checks the invocation and its two proofs, offline, and runs it."
pi ucan run "$there/job.ucan"

say "The same invocation again is a replay: it is refused, and nothing runs."
status=0
pi ucan run "$there/job.ucan" || status=$?
test "$status" = 4

say "The Pi revokes what the laptop gave to the phone: it stands further up in the chain."
pi ucan revoke "$there/phone.ucan" > "$there/revoked.ucan"

say "The next invocation is refused."
phone ucan invoke --subject "$PI" "$module:add" 2 41 > "$there/next.ucan"
status=0
pi ucan run "$there/next.ucan" || status=$?
test "$status" = 4
