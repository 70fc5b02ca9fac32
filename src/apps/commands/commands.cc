#include "apps/commands/commands.h"

#include <cstdlib>
#include <exception>

#include <nlohmann/json.hpp>

#include "apps/terminal.h"

namespace holdfast {

ExitCode exit_code_of(Errc errc) {
  switch (errc) {
    case Errc::kInvalidField:
    case Errc::kUnknownField:
    case Errc::kUnparsable:
      return kExitBadInput;
    case Errc::kUnavailable:
    case Errc::kStoreUnavailable:
      return kExitUnavailable;
    case Errc::kNotFound:
      return kExitNotFound;
    case Errc::kNameExists:
    case Errc::kWrongState:
    case Errc::kTooFewNodes:
    case Errc::kStaleAttempt:
    case Errc::kBreakerOpen:
      return kExitRefused;
    case Errc::kJobFailed:
      return kExitJobFailed;
    case Errc::kStateLocked:
    case Errc::kStateCorrupt:
    case Errc::kPortInUse:
    case Errc::kIo:
    case Errc::kDiskFull:
    case Errc::kDamaged:
      return kExitMachine;
    case Errc::kUnauthenticated:
    case Errc::kTokenExpired:
    case Errc::kStoreRefused:
      return kExitDenied;
  }
  return kExitJobFailed;
}

void finish(const std::function<Result<int>()>& command) {
  Result<int> outcome = 0;
  try {
    outcome = command();
  } catch (const nlohmann::json::exception& error) {
    outcome = Error{Errc::kUnparsable, std::string("the control plane's answer has an unexpected "
                                                   "shape (") +
                                           error.what() +
                                           "); client and control plane may be of different "
                                           "versions"};
  }
  if (!outcome.ok()) {
    say(without_controls(outcome.error().text()));
    throw CLI::RuntimeError(exit_code_of(outcome.error().code));
  }
  if (*outcome != 0) throw CLI::RuntimeError(*outcome);
}

std::string default_state_folder() {
  if (const char* state = std::getenv("HOLDFAST_STATE"); state != nullptr && *state != '\0')
    return state;
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "") + "/.local/state/holdfast/default";
}

void add_state_option(CLI::App& command, std::string& state) {
  state = default_state_folder();
  command.add_option("--state", state, "The cluster's state folder (or $HOLDFAST_STATE)")
      ->capture_default_str()
      ->type_name("DIR");
}

void add_json_option(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "Print JSON");
}

}  // namespace holdfast
