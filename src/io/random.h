#pragma once

#include <cstddef>
#include <string>

namespace holdfast {

// `bytes` random bytes of the kernel as lower-case hexadecimal: fit for secrets.
[[nodiscard]] std::string random_hex(std::size_t bytes);

// RFC 4122 version 4.
[[nodiscard]] std::string new_uuid();

}  // namespace holdfast
