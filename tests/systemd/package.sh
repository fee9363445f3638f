#!/bin/bash
# On a freshly booted Debian that has what the package needs: can it be installed, is it a service, does it check, does a purge leave nothing?
set -euo pipefail

fail() {
    echo "FAIL: $*" >&2
    systemctl status --no-pager --lines=30 monagent.service >&2 || true
    exit 1
}

dpkg --install /monagent_*.deb || fail "it cannot be installed"
systemctl is-active --quiet monagent.service || fail "the service was not started"
systemctl is-enabled --quiet monagent.service || fail "the service is not enabled"
test "$(ps -o user= -p "$(systemctl show --value --property MainPID monagent.service)")" = monagent || fail "it runs as somebody else"

python3 - <<'END' || fail "the agent takes no command"
import xmlrpc.client

agent = xmlrpc.client.ServerProxy("http://127.0.0.1:8080/xmlrpc/")
assert agent.healthcheck() == "OK"
assert agent.cmd_submit_reading("packaged", "load", ["load1"]) == "OK"
assert "disk" in agent.cmd_list_sensors()
END
for _ in $(seq 50); do
    [[ "$(monagent spool show packaged)" == *finished* ]] && break
    sleep 0.1
done
[[ "$(monagent spool show packaged)" == *finished* ]] || fail "the check was not done: $(monagent spool show packaged)"
monagent sensor run load load1 | grep --quiet '^[0-9.]*$' || fail "no number"
monagent check-config || fail "the configuration that came with it is wrong"
monagent status || fail "it does not run, by its own word"
bash -n /usr/share/bash-completion/completions/monagent

dpkg --purge monagent || fail "it cannot be purged"
! systemctl is-active --quiet monagent.service || fail "it still runs"
! getent passwd monagent || fail "its user is still there"
left=$(find / -xdev -iname '*monagent*' -not -path '/proc/*' -not -path '/sys/*' -not -name 'monagent*.deb' -not -path '/var/log/journal/*')
test -z "$left" || fail "left behind: $left"
echo "the package is fine"
