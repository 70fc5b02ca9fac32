#include "apps/commands/job_request.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>

#include "api/job_file.h"
#include "io/files.h"
#include "io/random.h"
#include "io/s3_config.h"

namespace holdfast {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kJobFileMax = 1 << 20;

Error invalid(const std::string& field, const std::string& what) {
  return {Errc::kInvalidField, field + ": " + what};
}

bool is_program(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

// As execvp() would find it, but here and now: the nodes have another PATH.
std::optional<std::string> find_program(const std::string& name, const std::string& search_path,
                                        const fs::path& folder) {
  if (name.find('/') != name.npos) {
    const fs::path path = (folder / name).lexically_normal();
    return is_program(path) ? std::optional(path.string()) : std::nullopt;
  }
  for (std::size_t begin = 0; begin <= search_path.size();) {
    const std::size_t end = std::min(search_path.find(':', begin), search_path.size());
    const fs::path path = folder / search_path.substr(begin, end - begin) / name;
    if (is_program(path)) return path.string();
    begin = end + 1;
  }
  return std::nullopt;
}

// The Python script among the arguments; none for `python -m` and `python -c`.
std::optional<std::string> python_script(const std::vector<std::string>& command) {
  if (!fs::path(command[0]).filename().string().starts_with("python")) return std::nullopt;
  for (std::size_t i = 1; i < command.size(); ++i) {
    if (command[i] == "-m" || command[i] == "-c") return std::nullopt;
    if (command[i].starts_with('-')) continue;
    return command[i].ends_with(".py") ? std::optional(command[i]) : std::nullopt;
  }
  return std::nullopt;
}

Result<void> check_files(const JobSpec& spec) {
  std::error_code ignored;
  const fs::path folder(spec.working_folder);
  if (!fs::is_directory(folder, ignored))
    return invalid("working_folder", "'" + spec.working_folder + "' is no folder; make it first");
  if (::access(folder.c_str(), R_OK | X_OK) != 0)
    return invalid("working_folder", "'" + spec.working_folder +
                                         "' is not readable; check who "
                                         "owns it");
  if (const auto script = python_script(spec.command);
      script && !fs::is_regular_file(folder / *script, ignored))
    return invalid("command", "no script '" + (folder / *script).lexically_normal().string() +
                                  "'; check its name and the working folder");
  if (is_s3_url(spec.checkpoint.folder)) {
    const auto url = parse_s3_url(spec.checkpoint.folder);
    if (!url.ok()) return invalid("checkpoint.folder", url.error().detail);
  } else if (!spec.checkpoint.folder.empty()) {
    const fs::path parent = fs::path(spec.checkpoint.folder).parent_path();
    if (!fs::is_directory(parent, ignored))
      return invalid("checkpoint.folder", "'" + parent.string() + "' is no folder; make it first");
  }
  return {};
}

std::string user_name() {
  if (const passwd* user = ::getpwuid(::getuid())) return user->pw_name;
  return std::to_string(::getuid());
}

}  // namespace

Result<JobSpec> read_job_file(const std::string& path) {
  HF_TRY(const std::string text, read_file(path, kJobFileMax));
  std::error_code failed;
  const fs::path absolute = fs::absolute(path, failed);
  return parse_job_file(text, path, absolute.parent_path().lexically_normal().string());
}

Result<JobSpec> complete_job(JobSpec spec) {
  for (const char* name :
       {"HOME", "PATH", "LANG", "USER", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH"})
    if (const char* value = std::getenv(name)) spec.environment.emplace(name, value);
  if (spec.owner.empty()) spec.owner = user_name();
  if (spec.request_token.empty()) spec.request_token = random_hex(16);
  HF_TRY_VOID(check_job_spec(spec));
  HF_TRY_VOID(check_files(spec));
  const auto search_path = spec.environment.find("PATH");
  const auto program = find_program(
      spec.command[0], search_path == spec.environment.end() ? "" : search_path->second,
      spec.working_folder);
  if (!program)
    return invalid("command", "no program '" + spec.command[0] +
                                  "' on the PATH; check its name or give its whole path");
  spec.command[0] = *program;
  return spec;
}

std::string name_after(const std::vector<std::string>& command, const std::string& suffix) {
  constexpr std::size_t kStemMax = 40;
  const std::string program = command.empty() ? "job" : python_script(command).value_or(command[0]);
  std::string name;
  for (const char letter : fs::path(program).stem().string().substr(0, kStemMax)) {
    const bool upper = letter >= 'A' && letter <= 'Z';
    const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
    if (upper || plain)
      name += static_cast<char>(upper ? letter - 'A' + 'a' : letter);
    else if (!name.empty() && name.back() != '-')
      name += '-';
  }
  while (name.ends_with('-')) name.pop_back();
  return (name.empty() ? "job" : name) + "-" + suffix;
}

}  // namespace holdfast
