#include "io/stack_dump.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "io/files.h"
#include "io/process.h"
#include "io/utf8.h"

namespace holdfast {

namespace {

constexpr std::size_t kThreadsMax = 64;

// Without its last newline; empty where it may not be read.
std::string first_bytes(const std::string& path) {
  auto text = read_file(path, 1 << 16);
  if (!text.ok()) return {};
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return valid_utf8(*text);
}

// "[<0>] futex_wait+0x1f/0x80" -> "futex_wait": addresses differ between machines, names do not.
std::string function_of(std::string_view line) {
  const std::size_t begin = line.find("] ");
  if (begin != std::string_view::npos) line.remove_prefix(begin + 2);
  return std::string(line.substr(0, line.find('+')));
}

std::string thread_text(pid_t tid, const std::string& folder) {
  std::string text = "thread " + std::to_string(tid) + " \"" + first_bytes(folder + "/comm") +
                     "\": " + process_state(tid);
  const std::string waits_in = first_bytes(folder + "/wchan");
  if (!waits_in.empty() && waits_in != "0") text += ", waits in " + waits_in;
  text += "\n";
  const std::string stack = first_bytes(folder + "/stack");
  for (std::size_t begin = 0; begin < stack.size();) {
    const std::size_t end = std::min(stack.find('\n', begin), stack.size());
    text += "  " + function_of(std::string_view(stack).substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return text;
}

}  // namespace

std::string kernel_stacks(pid_t pid) {
  const std::string process = "/proc/" + std::to_string(pid);
  std::vector<pid_t> threads;
  std::error_code error;
  for (std::filesystem::directory_iterator it(process + "/task", error), end;
       !error && it != end && threads.size() < kThreadsMax; it.increment(error))
    threads.push_back(static_cast<pid_t>(std::atol(it->path().filename().c_str())));
  if (threads.empty()) return {};
  std::string command = first_bytes(process + "/cmdline");
  std::replace(command.begin(), command.end(), '\0', ' ');
  std::string text = "process " + std::to_string(pid) + ": " + command + "\n";
  for (const pid_t tid : threads)
    text += thread_text(tid, process + "/task/" + std::to_string(tid));
  return text;
}

}  // namespace holdfast
