#include "io/http_head.h"

#include <algorithm>
#include <charconv>

namespace holdfast {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

Error malformed(const std::string& what) {
  return {Errc::kUnparsable, what};
}

// RFC 9110, token
bool is_token(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return is_token(c); });
}
bool is_visible(char c) {
  return c > 0x20 && c < 0x7f;
}
// Bytes from 0x80 are opaque, as the RFC has it.
bool is_in_value(char c) {
  return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

Result<void> read_request_line(std::string_view line, HttpHead& head) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == line.npos || first == last)
    return malformed("the first line is not METHOD TARGET VERSION");
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0")
    return malformed("the version is not HTTP/1.1");
  head.keeps_alive = version == "HTTP/1.1";
  if (!is_token(head.method)) return malformed("the method is no word");
  if (!head.target.starts_with('/') || !std::ranges::all_of(head.target, is_visible))
    return malformed("the target is not a path that starts with /");
  return {};
}

Result<void> read_header(std::string_view line, HttpHead& head) {
  const std::size_t colon = line.find(':');
  if (colon == line.npos || !is_token(line.substr(0, colon)))
    return malformed("a header is not NAME: VALUE");
  const std::string_view value = trim(line.substr(colon + 1));
  if (!std::ranges::all_of(value, is_in_value))
    return malformed("a header holds a control character");
  const auto [at, is_new] = head.headers.emplace(lower(line.substr(0, colon)), value);
  if (is_new) return {};
  // What must not be said twice, for each of two readers may believe another one.
  if (at->first == "host" || at->first == "content-length" || at->first == "authorization" ||
      at->first.starts_with("x-amz-"))
    return malformed(at->first + " is given twice");
  at->second += ',';
  at->second += value;
  return {};
}

// What the headers say of the message itself.
Result<void> apply(HttpHead& head) {
  const auto value_of = [&](const char* name) -> std::string_view {
    const auto found = head.headers.find(name);
    return found == head.headers.end() ? std::string_view() : found->second;
  };
  if (!head.headers.contains("host")) return malformed("there is no Host header");
  for (const char* name : {"transfer-encoding", "content-encoding"})
    if (head.headers.contains(name))
      return malformed(std::string(name) +
                       " is not taken; send the body as it is, with its length");
  if (head.headers.contains("content-length")) {
    const std::string_view text = value_of("content-length");
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), head.body_bytes);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
      return malformed("Content-Length is not a whole number");
  }
  const std::string connection = lower(value_of("connection"));
  if (connection == "close") head.keeps_alive = false;
  if (connection == "keep-alive") head.keeps_alive = true;
  head.expects_continue = lower(value_of("expect")) == "100-continue";
  return {};
}

}  // namespace

Result<HttpHead> parse_http_head(std::string_view text) {
  HttpHead head;
  bool is_first = true;
  for (;;) {
    const std::size_t end = text.find(kLineEnd);
    if (end == text.npos) return malformed("there is no empty line at the end of the headers");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + kLineEnd.size());
    if (is_first) {
      HF_TRY_VOID(read_request_line(line, head));
      is_first = false;
    } else if (line.empty()) {
      break;
    } else {
      HF_TRY_VOID(read_header(line, head));
    }
  }
  if (!text.empty()) return malformed("there is more behind the empty line");
  HF_TRY_VOID(apply(head));
  return head;
}

}  // namespace holdfast
