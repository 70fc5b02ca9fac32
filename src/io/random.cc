#include "io/random.h"

#include <sys/random.h>

#include <cerrno>
#include <string_view>

#include "base/check.h"

namespace holdfast {

namespace {

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  for (std::size_t done = 0; done < count;) {
    const ssize_t n = ::getrandom(bytes.data() + done, count - done, 0);
    if (n < 0 && errno == EINTR) continue;
    CHECK(n > 0);  // with these flags a kernel of this century has no other failure
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

std::string to_hex(std::string_view bytes) {
  std::string text;
  for (unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

std::string random_hex(std::size_t bytes) {
  return to_hex(random_bytes(bytes));
}

std::string new_uuid() {
  std::string bytes = random_bytes(16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0F) | 0x40);  // version 4
  bytes[8] = static_cast<char>((bytes[8] & 0x3F) | 0x80);  // RFC 4122
  std::string text = to_hex(bytes);
  for (const std::size_t dash : {8, 13, 18, 23}) text.insert(dash, "-");
  return text;
}

}  // namespace holdfast
