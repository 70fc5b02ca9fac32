// Any request: the first line is METHOD PATH [NAME=VALUE ...], the rest its body. What is asked for
// is known, or the error can be answered, and its answer be read.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/rest.h"
#include "base/check.h"

namespace {

std::string_view next(std::string_view& text, char separator) {
  const std::string_view word = text.substr(0, text.find(separator));
  text.remove_prefix(word.size() == text.size() ? word.size() : word.size() + 1);
  return word;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  std::string_view text(reinterpret_cast<const char*>(bytes), size);
  (void)read_error({.status = 500, .body = std::string(text)});
  std::string_view line = next(text, '\n');
  HttpRequest request{.body = std::string(text)};
  request.method = next(line, ' ');
  request.path = next(line, ' ');
  while (!line.empty()) {
    std::string_view pair = next(line, ' ');
    const std::string name(next(pair, '='));
    request.query[name] = pair;
  }
  const auto asked = parse_request(request);
  if (asked.ok()) return 0;
  const HttpResponse answer = render_error(asked.error());
  CHECK(answer.status >= 400 && read_error(answer).code == asked.error().code);
  return 0;
}
