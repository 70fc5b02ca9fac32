#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "io/http_head.h"
#include "io/sigv4.h"
#include "io/sigv4_verify.h"

// Any request: a head that is read has what its limits say, and no signature verifies by chance.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  auto head = parse_http_head(text);
  if (!head.ok()) return 0;
  HttpRequest request{.method = head->method, .target = head->target, .headers = head->headers};
  for (const auto& [name, value] : request.headers) {
    CHECK(!name.empty());
    CHECK(value.find_first_of(std::string_view("\r\n\0", 3)) == value.npos);
  }
  const auto read = read_signature(request);
  if (const auto* claim = std::get_if<SignatureClaim>(&read)) {
    CHECK(std::ranges::is_sorted(claim->signed_headers));
    CHECK(check_signature(*claim, request, "a secret that nobody has", claim->region,
                          claim->service, claim->at));
  }
  return 0;
}
