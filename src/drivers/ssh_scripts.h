#pragma once

// What is done on a host over SSH: scripts for its `sh`, as root, given on stdin. Each may be run
// again at any time, and says what it found in lines on stdout.

#include <string>
#include <string_view>
#include <vector>

namespace holdfast {

// As one word of a shell.
[[nodiscard]] std::string shell_word(std::string_view text);

// FOLDER/bin/holdfast, FOLDER/n3/{ca.crt, join.token, agent.log, ...}
struct RemoteNode {
  std::string folder;   // of ours on the host
  std::string cluster;  // uuid
  std::string node;     // "n3"
};

// Ends whatever nodes of the cluster are there, then says "sha256 HEX" of the program that is
// installed, or "sha256 none".
[[nodiscard]] std::string prepare_script(const RemoteNode& node);

// Writes the program that comes on stdin; a command, not a script.
[[nodiscard]] std::string receive_command(const std::string& folder);

struct RemoteAgent {
  RemoteNode node;
  std::string sha256;  // of the program that must be there
  std::string ca_pem;
  std::string token;
  std::vector<std::string> arguments;  // without --ca and --folder
};
// Starts the agent: as a unit of systemd where that runs, else in a session of its own.
[[nodiscard]] std::string start_script(const RemoteAgent& agent);

// Ends the node: its agent, all that came of it, and its folder.
[[nodiscard]] std::string end_script(const RemoteNode& node);

// "boot ID", then "alive", or "dead" and the last line of the agent's log.
[[nodiscard]] std::string look_script(const RemoteNode& node);

// Restarts the machine a moment later, so that this can be answered.
[[nodiscard]] std::string reboot_script();

// The rest of the line of `output` that begins with this word; empty: there is none.
[[nodiscard]] std::string answer_of(const std::string& output, std::string_view word);

}  // namespace holdfast
