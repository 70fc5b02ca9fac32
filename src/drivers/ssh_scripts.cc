#include "drivers/ssh_scripts.h"

#include <algorithm>

namespace holdfast {
namespace {

// clang-format off
// Functions of all scripts. `mine` names the processes that were started for a node, wherever they
// have gone since: what they have in their environment, they cannot lose.
constexpr const char* kFunctions = R"sh(
has_systemd() { [ -d /run/systemd/system ]; }
unit_of() { echo "holdfast-$(echo "$cluster" | cut -c1-8)-$1.service"; }
mine() {
  grep -lzxF "HOLDFAST_CLUSTER=$cluster" /proc/[0-9]*/environ 2>/dev/null |
    xargs -r grep -lzxF "HOLDFAST_NODE=$1" 2>/dev/null |
    sed 's,^/proc/\([0-9]*\)/environ$,\1,'
}
end_node() {
  if has_systemd; then
    systemctl stop "$(unit_of "$1")" 2>/dev/null
    rm -f "/run/systemd/system/$(unit_of "$1")"
  fi
  rounds=0
  while pids=$(mine "$1") && [ -n "$pids" ]; do
    rounds=$((rounds + 1))
    if [ $rounds -gt 50 ]; then
      echo "processes of $1 cannot be killed:" $pids >&2
      return 1
    fi
    kill -9 $pids 2>/dev/null
    [ $rounds -lt 3 ] || sleep 0.1
  done
  rm -rf "$folder/$1"
}
)sh";

constexpr const char* kPrepare = R"sh(
for old in "$folder"/n[0-9]*; do
  [ -d "$old" ] || continue
  other=$(cat "$old/cluster" 2>/dev/null)
  if [ "$other" != "$cluster" ]; then
    grep -qzxF "HOLDFAST_CLUSTER=$other" /proc/[0-9]*/environ 2>/dev/null || continue
    echo "it serves another cluster already ($other)" >&2
    exit 1
  fi
  end_node "$(basename "$old")" || exit 1
done
if [ -x "$folder/bin/holdfast" ]; then
  echo "sha256 $(sha256sum "$folder/bin/holdfast" | cut -d' ' -f1)"
else
  echo "sha256 none"
fi
)sh";

constexpr const char* kInstall = R"sh(
program="$folder/bin/holdfast"
home="$folder/$node"
if [ "$(sha256sum "$program" 2>/dev/null | cut -d' ' -f1)" != "$sha" ]; then
  echo "$program is not what was sent; is the disk full?" >&2
  exit 1
fi
"$program" version >/dev/null || exit 1
end_node "$node" || exit 1
umask 077
mkdir -p "$home" || exit 1
printf '%s\n' "$cluster" >"$home/cluster"
printf '%s' "$ca" >"$home/ca.crt"
printf '%s' "$token" >"$home/join.token" || exit 1
)sh";

constexpr const char* kStart = R"sh(
if has_systemd; then
  command=
  for word in "$@"; do
    command="$command \"$(printf '%s' "$word" | sed 's/[\\"]/\\&/g; s/[%$]/&&/g')\""
  done
  cat >"/run/systemd/system/$(unit_of "$node")" <<UNIT
[Unit]
Description=Holdfast agent of $node
[Service]
ExecStart=$command
Environment=HOLDFAST_CLUSTER=$cluster HOLDFAST_NODE=$node HOME=/root
WorkingDirectory=$home
StandardOutput=append:$home/agent.log
StandardError=append:$home/agent.log
KillMode=control-group
Restart=on-failure
RestartSec=500ms
RestartPreventExitStatus=7
LimitMEMLOCK=infinity
LimitNOFILE=1048576
TasksMax=infinity
UNIT
  systemctl daemon-reload && systemctl start "$(unit_of "$node")" || exit 1
else
  cd "$home" || exit 1
  HOLDFAST_CLUSTER="$cluster" HOLDFAST_NODE="$node" \
    setsid "$@" >>"$home/agent.log" 2>&1 </dev/null &
  echo "$!" >"$home/agent.pid"
fi
echo started
)sh";

constexpr const char* kLook = R"sh(
echo "boot $(cat /proc/sys/kernel/random/boot_id)"
alive=
if has_systemd; then
  case "$(systemctl is-active "$(unit_of "$node")")" in active | activating) alive=yes ;; esac
else
  pid=$(cat "$folder/$node/agent.pid" 2>/dev/null)
  mine "$node" | grep -qx "${pid:-none}" && alive=yes
fi
if [ "$alive" ]; then
  echo alive
else
  echo "dead $(tail -n 1 "$folder/$node/agent.log" 2>/dev/null | cut -c1-300)"
fi
)sh";
// clang-format on

std::string prelude(const RemoteNode& node) {
  return "set -u\nexport LC_ALL=C\nfolder=" + shell_word(node.folder) +
         "\ncluster=" + shell_word(node.cluster) + "\nnode=" + shell_word(node.node) + kFunctions;
}

}  // namespace

std::string shell_word(std::string_view text) {
  std::string word = "'";
  for (const char c : text) {
    if (c == '\'')
      word += "'\\''";
    else
      word += c;
  }
  return word + "'";
}

std::string prepare_script(const RemoteNode& node) {
  return prelude(node) + kPrepare;
}

std::string receive_command(const std::string& folder) {
  const std::string bin = shell_word(folder + "/bin");
  return "umask 022; mkdir -p " + bin + " && cat > " + bin + "/holdfast.new && chmod 755 " + bin +
         "/holdfast.new && mv " + bin + "/holdfast.new " + bin + "/holdfast";
}

std::string start_script(const RemoteAgent& agent) {
  std::string arguments;
  for (const std::string& argument : agent.arguments) arguments += " " + shell_word(argument);
  return prelude(agent.node) + "sha=" + shell_word(agent.sha256) +
         "\nca=" + shell_word(agent.ca_pem) + "\ntoken=" + shell_word(agent.token) + "\n" +
         kInstall + "set -- \"$program\"" + arguments +
         " --ca \"$home/ca.crt\" --folder \"$home\"\n" + kStart;
}

std::string end_script(const RemoteNode& node) {
  return prelude(node) + "end_node \"$node\" && echo ended\n";
}

std::string look_script(const RemoteNode& node) {
  return prelude(node) + kLook;
}

std::string reboot_script() {
  return "(sleep 1; systemctl reboot || reboot) >/dev/null 2>&1 </dev/null &\necho rebooting\n";
}

std::string answer_of(const std::string& output, std::string_view word) {
  for (std::size_t begin = 0; begin < output.size();) {
    const std::size_t end = std::min(output.find('\n', begin), output.size());
    const std::string_view line = std::string_view(output).substr(begin, end - begin);
    if (line == word) return std::string(word);
    if (line.size() > word.size() && line.starts_with(word) && line[word.size()] == ' ')
      return std::string(line.substr(word.size() + 1));
    begin = end + 1;
  }
  return {};
}

}  // namespace holdfast
