#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast {

// The first part of an HTTP/1.x request, for a listener that verifies signatures: names and values
// as they were sent.
struct HttpHead {
  std::string method;
  std::string target;                          // path and query as sent
  std::map<std::string, std::string> headers;  // names in lower case; several of one: joined with ,
  std::uint64_t body_bytes = 0;
  bool keeps_alive = true;
  bool expects_continue = false;
};

// `text` ends with the empty line, which is its first. Strict, so that nobody on the way can read
// another request in the same bytes: no bare CR or LF, no folded lines, no transfer codings, one
// length, one host. kUnparsable says what is wrong.
[[nodiscard]] Result<HttpHead> parse_http_head(std::string_view text);

}  // namespace holdfast
