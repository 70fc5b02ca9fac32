#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "api/strict_fields.h"
#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

void add_all(CLI::App& app, const std::vector<std::string>& job_command) {
  add_up(app);
  add_down(app);
  add_status(app);
  add_run(app, job_command);
  add_job(app);
  add_node(app);
  add_cluster(app);
  add_pool(app);
  add_check(app);
  add_incident(app);
  add_events(app);
  add_breaker(app);
  add_key(app);
  add_checkpoint(app);
  add_chaos(app);
  add_sim(app);
  add_advise(app);
  add_diagnose(app);
  add_probe(app);
  add_explain(app);
  add_version(app);
  add_server(app);
  add_agent(app);
  // After the subcommands, which would inherit it.
  app.footer(
      std::string(
          "First steps:\n"
          "  holdfast up --nodes 4 --spares 1           a cluster on this machine\n"
          "  holdfast run --nodes 4 python3 train.py    a job on it\n"
          "  holdfast chaos node-kill n2                lose a node, and watch\n\n"
          "  holdfast --cluster ml-1 status             of another cluster of this server\n\n") +
      kExitCodeHelp);
}

std::string did_you_mean(const std::string& what, const std::string& word,
                         const std::vector<std::string>& known) {
  const std::string_view close = closest_word(word, {known.begin(), known.end()});
  return "no " + what + " `" + word + "`" +
         (close.empty() ? "" : "; did you mean `" + std::string(close) + "`?");
}

// What is wrong with a line that the parser refuses: its first unknown command or option, or else
// what the parser says.
std::string misuse(const CLI::App& app, const std::vector<std::string>& args,
                   const std::string& otherwise) {
  const CLI::App* level = &app;
  std::string path = "holdfast";
  std::string wrong;
  for (std::size_t i = 0; i < args.size() && wrong.empty(); ++i) {
    const auto commands = level->get_subcommands([](const CLI::App*) { return true; });
    std::vector<std::string> known;
    if (args[i].starts_with("--")) {
      const std::string name = args[i].substr(0, args[i].find('='));
      for (const CLI::Option* option : level->get_options())
        for (const std::string& known_name : option->get_lnames())
          known.push_back("--" + known_name);
      if (std::ranges::find(known, name) == known.end())
        wrong = did_you_mean("option", name, known);
    } else if (!commands.empty()) {
      for (const CLI::App* command : commands) known.push_back(command->get_name());
      if (std::ranges::find(known, args[i]) == known.end()) {
        wrong = did_you_mean("command", args[i], known);
      } else {
        level = level->get_subcommand(args[i]);
        path += " " + args[i];
      }
    }
  }
  if (wrong.ends_with('?')) return wrong;
  return (wrong.empty() ? otherwise : wrong) + "; see `" + path + " --help`";
}

int run(std::vector<std::string> args) {
  CLI::App app("Holdfast keeps training going when machines die.", "holdfast");
  app.require_subcommand(1);
  std::vector<std::string> job_command;
  add_all(app, job_command);
  // Before the command, because it is about all that speak to a server.
  if (args.size() >= 2 && args[0] == "--cluster") {
    ::setenv(kClusterVariable, args[1].c_str(), /*overwrite=*/1);
    args.erase(args.begin(), args.begin() + 2);
  }
  if (args.empty()) {
    print(app.help());
    return kExitBadInput;
  }
  job_command = cut_run_command(app, args);
  try {
    std::vector<std::string> reversed(args.rbegin(), args.rend());
    app.parse(reversed);
  } catch (const CLI::RuntimeError& ended) {  // see finish()
    return ended.get_exit_code();
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    say(misuse(app, args, error.what()));
    return kExitBadInput;
  }
  return kExitOk;
}

// The simulator goes over tens of MiB at random, and a quarter of its time were page tables. malloc
// asks for huge pages only if the environment says so before the program starts.
void ask_for_huge_pages(char** argv) {
  if (::setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", /*overwrite=*/0) == 0)
    ::execv("/proc/self/exe", argv);
}

}  // namespace
}  // namespace holdfast

int main(int argc, char** argv) {
  // A peer that goes away is an error to be told, not a death.
  ::signal(SIGPIPE, SIG_IGN);
  if (argc > 1 && std::string_view(argv[1]) == "sim" && ::getenv("GLIBC_TUNABLES") == nullptr)
    holdfast::ask_for_huge_pages(argv);
  return holdfast::run({argv + 1, argv + argc});
}
