#include <signal.h>

#include <string_view>
#include <vector>

#include "api/job_file.h"
#include "apps/commands/commands.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

void add_all(CLI::App& app) {
  add_up(app);
  add_down(app);
  add_status(app);
  add_run(app);
  add_job(app);
  add_node(app);
  add_incident(app);
  add_events(app);
  add_breaker(app);
  add_chaos(app);
  add_explain(app);
  add_version(app);
  add_server(app);
  add_agent(app);
}

// "did you mean", for the word that no subcommand has.
void suggest(const CLI::App& app, int argc, char** argv) {
  const CLI::App* level = &app;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    std::vector<std::string_view> names;
    const CLI::App* next = nullptr;
    for (const CLI::App* sub : level->get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(sub->get_name());
      if (sub->get_name() == word) next = sub;
    }
    if (names.empty() || word.starts_with('-')) return;
    if (next == nullptr) {
      const std::string_view close = closest_word(word, names);
      if (!close.empty()) say("did you mean `" + std::string(close) + "`?");
      return;
    }
    level = next;
  }
}

int run(int argc, char** argv) {
  CLI::App app("Holdfast keeps training going when machines die.", "holdfast");
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Help for all subcommands");
  app.footer(std::string("\nFirst steps:\n"
                         "  holdfast up --nodes 4 --spares 1      a cluster on this machine\n"
                         "  holdfast run --nodes 4 python3 t.py   a job on it\n"
                         "  holdfast chaos node-kill n2           lose a node, and watch\n\n") +
             kExitCodeHelp);
  add_all(app);
  if (argc == 1) {
    print(app.help());
    return kExitBadInput;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError& ended) {  // see finish()
    return ended.get_exit_code();
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    suggest(app, argc, argv);
    return kExitBadInput;
  }
  return kExitOk;
}

}  // namespace
}  // namespace holdfast

int main(int argc, char** argv) {
  // A peer that goes away is an error to be told, not a death.
  ::signal(SIGPIPE, SIG_IGN);
  return holdfast::run(argc, argv);
}
