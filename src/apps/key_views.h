#pragma once

#include <optional>
#include <string>

#include "api/rest.h"
#include "base/result.h"
#include "base/time.h"
#include "io/access_keys.h"

namespace holdfast {

// The answers of the REST API about access keys; none for what is not about them. Any thread.
[[nodiscard]] std::optional<HttpResponse> answer_keys(const Ask& ask, AccessKeys& keys,
                                                      WallTime now);

// The first key of a new state folder: an admin's, in FOLDER/client/credentials (0600), which is a
// shared credentials file of AWS's tools. REQUIRES: FOLDER/client is there.
[[nodiscard]] Result<void> make_first_key(const std::string& state, WallTime now);

}  // namespace holdfast
