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

#include "api/journal_line.h"
#include "apps/commands/commands.h"
#include "apps/commands/views.h"
#include "apps/incident_folder.h"
#include "apps/rule_pages.h"
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
    const auto of_journal = kernel_line_of_journal(line);
    const auto finding = find_in_kernel_line(of_journal ? *of_journal : line);
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

json verdict_json(const Verdict& verdict, const IncidentFolder& folder) {
  json nodes = json::array(), evidence = json::array();
  for (const NodeId node : verdict.nodes) nodes.push_back(folder.node_names.at(node));
  for (const Evidence& one : verdict.evidence)
    evidence.push_back(
        {{"what", with_node_names(one.what, folder)},
         {"node", one.node ? json(folder.node_names.at(one.node)) : json()},
         {"rank", one.rank ? json(*one.rank) : json()},
         {"time", one.at.ns != 0 ? json(static_cast<double>(one.at.ns) / 1e9) : json()}});
  return {{"cause", word_of(verdict.cause)},
          {"action", word_of(verdict.action)},
          {"confidence", word_of(verdict.confidence)},
          {"summary", with_node_names(verdict.summary, folder)},
          {"ranks", verdict.ranks},
          {"nodes", std::move(nodes)},
          {"evidence", std::move(evidence)}};
}

std::string verdict_text(const json& verdict, const Verdict& values, const Paint& paint) {
  std::string text =
      paint(Ink::kBold, fmt::format("{}, {}", word_of(values.cause), word_of(values.action))) +
      fmt::format(" (confidence {})\n  {}\n", word_of(values.confidence),
                  without_controls(verdict["summary"].get<std::string>()));
  text += fmt::format("\nWhat follows from it: Holdfast {}.\n", action_text(values.action));
  if (!values.ranks.empty()) {
    text += "\nRanks:";
    for (const std::uint32_t rank : values.ranks) text += " " + std::to_string(rank);
    text += "\nNodes:";
    for (const json& node : verdict["nodes"])
      text += " " + without_controls(node.get<std::string>());
    text += "\n";
  }
  text += "\n" + paint(Ink::kBold, "Evidence") + "\n";
  for (const json& one : verdict["evidence"]) {
    const std::string time =
        one["time"].is_null()
            ? "time unknown"
            : wall_text(static_cast<std::int64_t>(one["time"].get<double>() * 1e9));
    std::string what = without_controls(one["what"].get<std::string>());
    for (auto at = what.find('\n'); at != std::string::npos; at = what.find('\n', at + 5))
      what.replace(at, 1, "\n    ");
    text += "  " + paint(Ink::kDim, time) + "  " + what + "\n";
  }
  return text;
}

Result<int> diagnose_job(const DiagnoseOptions& options) {
  HF_TRY(const IncidentFolder folder, read_incident_folder(options.job));
  for (const std::string& note : folder.notes) say(without_controls(note));
  const Verdict verdict = judge(folder.evidence);
  const json view = verdict_json(verdict, folder);
  print(options.json ? view.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"
                     : verdict_text(view, verdict, standard_output().paint));
  return 0;
}

Result<int> diagnose(const DiagnoseOptions& options) {
  if (options.kmsg.empty() == options.job.empty())
    return Error{Errc::kInvalidField,
                 "diagnose: say --kmsg FILE (a kernel log) or --job DIR (a "
                 "folder of one attempt, docs/incident-folder.md)"};
  return options.job.empty() ? diagnose_kmsg(options) : diagnose_job(options);
}

}  // namespace

void add_diagnose(CLI::App& app) {
  auto options = std::make_shared<DiagnoseOptions>();
  CLI::App* command = app.add_subcommand("diagnose", "What broke, told from logs alone");
  command
      ->add_option("--kmsg", options->kmsg,
                   "A kernel log (dmesg, syslog, journalctl with or without -o json); - reads "
                   "standard input")
      ->type_name("FILE");
  command
      ->add_option("--job", options->job,
                   "A folder with one attempt: ranks.json, logs, kernel logs, stacks "
                   "(docs/incident-folder.md)")
      ->type_name("DIR");
  add_json_option(*command, options->json);
  command->footer(
      "Examples:\n  dmesg | holdfast diagnose --kmsg -\n"
      "  holdfast diagnose --kmsg /var/log/kern.log --json\n"
      "  holdfast diagnose --job ./attempt-7");
  command->callback([options] { finish([&] { return diagnose(*options); }); });
}

}  // namespace holdfast
