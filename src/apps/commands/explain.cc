// `holdfast explain` and `holdfast version`

#include <algorithm>
#include <cctype>
#include <charconv>
#include <memory>
#include <string>
#include <string_view>

#include "apps/commands/commands.h"
#include "apps/error_pages.h"
#include "apps/rule_pages.h"
#include "apps/terminal.h"
#include "apps/version.h"

namespace holdfast {
namespace {

struct ExplainOptions {
  std::string what;
  std::string code;
};

std::string all_codes() {
  std::string codes;
#define HF_ERRC_LIST(name, code, summary) codes += "  " code "  " summary "\n";
  HF_ERRC_TABLE(HF_ERRC_LIST)
#undef HF_ERRC_LIST
  return codes + "\nKinds of findings, of the kernel log and of probes: " + kinds_text() + "\n";
}

Result<int> explain_error(std::string code) {
  std::ranges::transform(code, code.begin(), [](unsigned char c) { return std::toupper(c); });
  const auto page = error_page(code);
  if (!page)
    return Error{Errc::kNotFound,
                 "nothing is known of '" + code + "'; `holdfast explain` lists all there is"};
  print(*page);
  if (!page->ends_with('\n')) print("\n");
  return 0;
}

Result<int> explain(const ExplainOptions& options) {
  if (options.what.empty()) {
    print(all_codes());
    return 0;
  }
  std::string kind = options.what;
  std::ranges::transform(kind, kind.begin(), [](unsigned char c) { return std::tolower(c); });
  const Paint paint = standard_output().paint;
  if (options.code.empty()) {
    const auto page = kind_page(kind, paint);
    if (!page) return explain_error(options.what);
    print(*page);
    return 0;
  }
  std::int32_t code = 0;
  const char* const end = options.code.data() + options.code.size();
  const auto parsed = std::from_chars(options.code.data(), end, code);
  if (parsed.ec != std::errc() || parsed.ptr != end || code < 0)
    return Error{Errc::kInvalidField, "code: '" + options.code + "' is no number, such as 79"};
  const auto page = code_page(kind, code, paint);
  if (!page)
    return Error{Errc::kInvalidField, "kind: '" + options.what +
                                          "' has no numbers; xid and sxid have, and `holdfast "
                                          "explain KIND` shows the rules of: " +
                                          kinds_text()};
  print(*page);
  return 0;
}

}  // namespace

void add_explain(CLI::App& app) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command = app.add_subcommand("explain", "What an error code or a finding means");
  command->add_option("WHAT", options->what,
                      "An error code (HF1001), or a kind of finding (xid, oom, gpu_hot, ...)");
  command->add_option("CODE", options->code, "The number of an xid or sxid");
  command->footer(
      "Examples:\n  holdfast explain HF2001\n  holdfast explain xid 79\n"
      "  holdfast explain nvme");
  command->callback([options] { finish([&] { return explain(*options); }); });
}

void add_version(CLI::App& app) {
  CLI::App* command = app.add_subcommand("version", "The version of this program");
  command->callback([] { print("holdfast " + std::string(kVersion) + "\n"); });
}

}  // namespace holdfast
