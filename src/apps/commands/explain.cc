// `holdfast explain` and `holdfast version`

#include <algorithm>
#include <cctype>
#include <memory>
#include <string>
#include <string_view>

#include "apps/commands/commands.h"
#include "apps/error_pages.h"
#include "apps/terminal.h"
#include "apps/version.h"

namespace holdfast {
namespace {

std::string all_codes() {
  std::string codes;
#define HF_ERRC_LIST(name, code, summary) codes += "  " code "  " summary "\n";
  HF_ERRC_TABLE(HF_ERRC_LIST)
#undef HF_ERRC_LIST
  return codes;
}

Result<int> explain(std::string code) {
  if (code.empty()) {
    print(all_codes());
    return 0;
  }
  std::ranges::transform(code, code.begin(), [](unsigned char c) { return std::toupper(c); });
  const auto page = error_page(code);
  if (!page)
    return Error{Errc::kNotFound, "no error code " + code + "; `holdfast explain` lists them all"};
  print(*page);
  if (!page->ends_with('\n')) print("\n");
  return 0;
}

}  // namespace

void add_explain(CLI::App& app) {
  auto code = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("explain", "What an error code means and what to do");
  command->add_option("CODE", *code, "HF1001 and the like; none lists them all");
  command->footer("Example:\n  holdfast explain HF2001");
  command->callback([code] { finish([&] { return explain(*code); }); });
}

void add_version(CLI::App& app) {
  CLI::App* command = app.add_subcommand("version", "The version of this program");
  command->callback([] { print("holdfast " + std::string(kVersion) + "\n"); });
}

}  // namespace holdfast
