#include "io/unique_fd.h"

#include <unistd.h>

namespace holdfast {

void UniqueFd::reset() {
  if (fd_ >= 0) ::close(release());
}

}  // namespace holdfast
