#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace holdfast {

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, condition);
  std::abort();
}

void fatal(int exit_code, std::string_view reason) {
  std::fprintf(stderr, "holdfast: %.*s\n", static_cast<int>(reason.size()), reason.data());
  std::exit(exit_code);
}

}  // namespace holdfast
