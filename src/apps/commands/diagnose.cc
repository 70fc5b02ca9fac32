// `holdfast diagnose`: what can be told from logs, without a cluster

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/terminal.h"
#include "core/diagnose/kernel_log.h"
#include "io/files.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct DiagnoseOptions {
  std::string kmsg;
  std::string job;
  bool json = false;
};

// Calls on_line(line, number) for each line; a last one without a newline counts too.
template <class OnLine>
Result<void> for_each_line(int fd, const std::string& path, const OnLine& on_line) {
  constexpr std::size_t kChunk = 1 << 20, kLineMax = 64 << 10;
  std::string buffer;
  std::vector<char> chunk(kChunk);
  std::uint64_t number = 0;
  while (true) {
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0 && (errno == EINTR || errno == EPIPE)) continue;  // EPIPE: records were overwritten
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) return os_error("read", path, errno);
    if (got == 0) break;
    buffer.append(chunk.data(), static_cast<std::size_t>(got));
    std::string_view rest = buffer;
    for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      on_line(rest.substr(0, end), ++number);
      rest.remove_prefix(end + 1);
    }
    buffer.erase(0, buffer.size() - rest.size());
    // No kernel writes such a line; what comes of it is read as one cut-off line.
    if (buffer.size() > kLineMax + kChunk) buffer.resize(kLineMax);
  }
  if (!buffer.empty()) on_line(buffer, ++number);
  return {};
}

std::string code_text(const Fault& fault) {
  return fault.code == 0 ? "" : std::to_string(fault.code);
}

json finding_json(const KernelFinding& finding, std::uint64_t number) {
  const Fault& fault = finding.fault;
  return {{"line", number},
          {"kind", fault.kind},
          {"code", fault.code == 0 ? json() : json(fault.code)},
          {"device", fault.device.empty() ? json() : json(fault.device)},
          {"cause", word_of(fault.cause)},
          {"action", word_of(fault.action)},
          {"source", finding.source}};
}

Result<int> diagnose_kmsg(const DiagnoseOptions& options) {
  UniqueFd file;
  int fd = STDIN_FILENO;
  if (options.kmsg != "-") {
    // /dev/kmsg has no end: what is there now is enough.
    const int flags = options.kmsg == "/dev/kmsg" ? O_RDONLY | O_NONBLOCK : O_RDONLY;
    HF_TRY(file, open_file(options.kmsg, flags));
    fd = file.get();
  }
  std::vector<std::vector<std::string>> rows{
      {">LINE", "KIND", ">CODE", "DEVICE", "CAUSE", "ACTION", "MEANING"}};
  std::uint64_t lines = 0;
  const auto read = for_each_line(fd, options.kmsg, [&](std::string_view line, std::uint64_t n) {
    lines = n;
    const auto finding = find_in_kernel_line(line);
    if (!finding) return;
    const Fault& fault = finding->fault;
    if (options.json)
      print(finding_json(*finding, n).dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
    else
      rows.push_back({std::to_string(n), fault.kind, code_text(fault),
                      without_controls(fault.device), std::string(word_of(fault.cause)),
                      std::string(word_of(fault.action)), std::string(finding->meaning)});
  });
  if (!read.ok()) return read.error();
  if (options.json) return 0;
  if (rows.size() > 1) print(render_table(rows, standard_output().paint) + "\n");
  print(fmt::format("{} of {} lines tell of a fault or an event of the machine.\n", rows.size() - 1,
                    lines));
  return 0;
}

Result<int> diagnose(const DiagnoseOptions& options) {
  if (options.kmsg.empty() == options.job.empty())
    return Error{Errc::kInvalidField,
                 "diagnose: say --kmsg FILE (a kernel log) or --job DIR (a "
                 "folder of one attempt, docs/incident-folder.md)"};
  return diagnose_kmsg(options);
}

}  // namespace

void add_diagnose(CLI::App& app) {
  auto options = std::make_shared<DiagnoseOptions>();
  CLI::App* command = app.add_subcommand("diagnose", "What broke, told from logs alone");
  command
      ->add_option("--kmsg", options->kmsg,
                   "A kernel log (dmesg, journald, syslog); - reads it "
                   "from standard input")
      ->type_name("FILE");
  add_json_option(*command, options->json);
  command->footer(
      "Examples:\n  dmesg | holdfast diagnose --kmsg -\n"
      "  holdfast diagnose --kmsg /var/log/kern.log --json");
  command->callback([options] { finish([&] { return diagnose(*options); }); });
}

}  // namespace holdfast
