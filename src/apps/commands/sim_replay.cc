// `holdfast sim replay`: an incident from production, step by step.

#include <filesystem>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/sim_replay.h"
#include "apps/terminal.h"
#include "io/journal.h"
#include "model/codec.h"
#include "sim/replay.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct Arguments {
  std::string file;
  bool json = false;
  bool audits_only = false;
};

json step_json(const sim::ReplayStep& step) {
  json audits = json::array();
  for (const effect::Audit& audit : step.audits)
    audits.push_back(
        {{"severity", word_of(audit.severity)}, {"kind", audit.kind}, {"text", audit.text}});
  json effects = json::object();
  for (const auto& [word, times] : step.effects) effects[word] = times;
  return {{"seq", step.seq},
          {"at_s", (step.at - Instant{}).s()},
          {"event", json::parse(encode(step.event))},
          {"audits", audits},
          {"effects", effects},
          {"same", step.is_same}};
}

std::string step_text(const sim::ReplayStep& step, const Screen& screen) {
  const Paint& paint = screen.paint;
  const std::string event = without_controls(encode(step.event));
  std::string out =
      clip(fmt::format("{} {} {}", pad_left(std::to_string(step.seq), 6),
                       paint(Ink::kDim, fmt::format("{:12.6f}", (step.at - Instant{}).s())), event),
           screen.width) +
      "\n";
  for (const effect::Audit& audit : step.audits) {
    const Ink ink = audit.severity == effect::Severity::kInfo      ? Ink::kPlain
                    : audit.severity == effect::Severity::kWarning ? Ink::kYellow
                                                                   : Ink::kRed;
    out += "         " + paint(ink, audit.kind + ": " + without_controls(audit.text)) + "\n";
  }
  std::string left;
  for (const auto& [word, times] : step.effects)
    left += (left.empty() ? "" : ", ") + (times > 1 ? fmt::format("{} x ", times) : "") + word;
  if (!left.empty()) out += "         " + paint(Ink::kDim, "-> " + left) + "\n";
  if (!step.is_same)
    out += "         " +
           paint(Ink::kRed, "this version decides otherwise than the one that wrote it") + "\n";
  return out;
}

Result<int> replay_log(const Arguments& arguments) {
  const std::string file = std::filesystem::is_directory(arguments.file)
                               ? arguments.file + "/journal.db"
                               : arguments.file;
  HF_TRY(Journal::Recovered recorded, Journal::read(file));
  std::vector<sim::LogEntry> log;
  for (Journal::Entry& entry : recorded.tail)
    log.push_back({entry.seq, entry.at, std::move(entry.event), entry.effects_digest});
  const Screen screen = standard_output();
  json steps = json::array();
  const auto show = [&](const sim::ReplayStep& step) {
    if (arguments.audits_only && step.audits.empty() && step.is_same) return;
    if (arguments.json)
      steps.push_back(step_json(step));
    else
      print(step_text(step, screen));
  };
  HF_TRY(const sim::Replayed replayed, sim::replay(recorded.snapshot, log, show));
  const std::string digest = fmt::format("{:016x}", replayed.digest);
  if (arguments.json)
    print(json({{"steps", steps},
                {"entries", replayed.steps},
                {"differing", replayed.differing},
                {"digest", digest}})
              .dump() +
          "\n");
  else
    print(fmt::format("{} entries after the snapshot at {}; {} decided otherwise; digest {}\n",
                      replayed.steps, recorded.snapshot_seq, replayed.differing, digest));
  return replayed.differing == 0 ? 0 : kExitJobFailed;
}

}  // namespace

void add_sim_replay(CLI::App& group) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = group.add_subcommand(
      "replay", "The log of a real server, fed to the same control plane step by step");
  command->add_option("FILE", arguments->file, "A state folder, or a copy of its journal.db")
      ->required();
  command->add_flag("--audits", arguments->audits_only, "Only the steps that decided something");
  add_json_option(*command, arguments->json);
  command->footer(
      "Shows what happened since the journal's last snapshot. The file is only read; the server "
      "may\n"
      "run.\n\n"
      "Examples:\n"
      "  holdfast sim replay ~/.holdfast --audits\n"
      "  cp DIR/journal.db* /tmp/incident/ && holdfast sim replay /tmp/incident\n\n"
      "Exit code 1: this version decides something otherwise than the one that wrote the log.");
  command->callback([arguments] { finish([&] { return replay_log(*arguments); }); });
}

}  // namespace holdfast
