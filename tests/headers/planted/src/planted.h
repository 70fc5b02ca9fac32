#pragma once

// What the header check must refuse: <vector> is not included.
inline std::vector<int> planted() {
  return {};
}
