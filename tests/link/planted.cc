// What the link test must refuse: a decision that reaches for the operating system.
#include "io/random.h"

namespace holdfast {
std::string planted_decision() {
  return new_uuid();
}
}  // namespace holdfast
