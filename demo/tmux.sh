#!/usr/bin/env bash
# Runs the demo as separate programs in one tmux session: a servers window (the gateway, zmq_pull, grpc_server) and a
# clients window (two zmq_push, two grpc_client). All clients use the gateway's one port.
#
#   demo/tmux.sh        start, and attach when run from a terminal
#   demo/tmux.sh -d     start, and stay detached
#
# There is nothing to configure: the gateway gets gateway.hcl with a more talkative log. Where a port is in use, another
# one can be given:
#
#   GATEWAY_PORT=6555 PULL_PORT=6560 GREETER_PORT=6051 ADMIN_PORT=6901 demo/tmux.sh
#
# DEMO_SOCKET names the tmux server (gateway-demo), DEMO_BIN the folder of the binaries (bin).
set -euo pipefail
cd "$(dirname "$0")/.."

gateway_port=${GATEWAY_PORT:-5555}
pull_port=${PULL_PORT:-5560}
greeter_port=${GREETER_PORT:-50051}
admin_port=${ADMIN_PORT:-9901}
socket=${DEMO_SOCKET:-gateway-demo}
bin=${DEMO_BIN:-bin}
end="tmux -L $socket kill-server"

fail() {
  echo "demo/tmux.sh: $*" >&2
  exit 1
}

# tm talks to the demo's own tmux server, which reads nobody's settings.
tm() { tmux -L "$socket" -f /dev/null "$@"; }

# pane WINDOW TITLE COMMAND... opens a pane, in a window that it makes if need be.
pane() {
  local window=$1 title=$2 id
  shift 2
  if tm list-windows -t demo -F '#W' | grep -qx "$window"; then
    id=$(tm split-window -P -F '#{pane_id}' -t "demo:$window" -- "$@")
  else
    id=$(tm new-window -d -P -F '#{pane_id}' -t demo: -n "$window" -- "$@")
  fi
  tm select-pane -t "$id" -T "$title"
  tm select-layout -t "demo:$window" tiled
}

# The gateway's pane. When a terminal goes, programs are told by HUP, which a gateway takes for something else. So a shell
# stays above it, turns HUP into TERM, and removes the configuration in the end.
serve='
  "$1" serve -config "$2" &
  trap "kill $!" HUP TERM
  trap : INT
  while kill -0 $! 2>/dev/null; do wait $!; done
  rm -f "$2"
'

[ "${1:-}" = "" ] || [ "$1" = -d ] || fail "$1 is not known; -d starts the demo without attaching to it"
command -v tmux >/dev/null || fail "tmux is missing. Install it: apt-get install tmux. Without it: make demo"
! tm has-session -t demo 2>/dev/null || fail "it runs already. See it: tmux -L $socket attach. End it: $end"

go build -o "$bin/" ./cmd/gateway ./demo/peers/{zmq_push,zmq_pull,grpc_client,grpc_server}

config=$(mktemp "${TMPDIR:-/tmp}/gateway-demo.XXXXXX")
sed -e "s/:5555\"/:$gateway_port\"/; s/:5560\"/:$pull_port\"/; s/:50051\"/:$greeter_port\"/; s/:9901\"/:$admin_port\"/" \
  gateway.hcl >"$config"
printf '\nlog {\n  level = "debug" # tells what is detected, when it is\n}\n' >>"$config"

# remain-on-exit: what a program said last stays readable.
id=$(tm start-server \; set-option -g remain-on-exit on \; set-option -g mouse on \; \
  set-option -g pane-border-status top \; set-option -g pane-border-format ' #{pane_title} ' \; \
  new-session -d -P -F '#{pane_id}' -s demo -n servers -x 200 -y 50 sh -c "$serve" sh "$bin/gateway" "$config")
tm select-pane -t "$id" -T "gateway 127.0.0.1:$gateway_port"
pane servers "zmq_pull 127.0.0.1:$pull_port" "$bin/zmq_pull" -listen "tcp://127.0.0.1:$pull_port"
pane servers "grpc_server 127.0.0.1:$greeter_port" "$bin/grpc_server" -listen "127.0.0.1:$greeter_port"
for n in 1 2; do
  pane clients "zmq_push $n" "$bin/zmq_push" -name "push-$n" -connect "tcp://127.0.0.1:$gateway_port"
done
for n in 1 2; do
  pane clients "grpc_client $n" "$bin/grpc_client" -name "call-$n" -connect "127.0.0.1:$gateway_port"
done

# servers_listen tells whether each server has said that it listens.
servers_listen() {
  local id
  for id in $(tm list-panes -t demo:servers -F '#{pane_id}'); do
    tm capture-pane -p -J -S - -t "$id" | grep -q listening || return 1
  done
}

# A program that cannot start, since its port is taken, ends; at most ten seconds are waited for it.
for _ in {1..100}; do
  sleep 0.1
  dead=$(tm list-panes -a -f '#{pane_dead}' -F '#{pane_id}' | head -n 1)
  if [ -n "$dead" ]; then
    said=$(tm capture-pane -p -J -S - -t "$dead" | grep -v '^$' || true)
    tm kill-server
    fail "a program ended at once. It said:"$'\n'"$said"$'\n'"Where a port is taken: the head of demo/tmux.sh says how to use others."
  fi
  ! servers_listen || break
done

echo "The demo runs in tmux: servers and clients, a window each (switch with Ctrl-b n)."
echo "  See it: tmux -L $socket attach"
echo "  End it: $end"
if [ "${1:-}" != -d ] && [ -t 0 ] && [ -t 1 ]; then
  TMUX='' exec tmux -L "$socket" attach -t demo
fi
