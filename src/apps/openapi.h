#pragma once

#include "model/http.h"

namespace holdfast {

// docs/openapi.yaml, as it was when the program was built: what GET /v1/openapi answers.
[[nodiscard]] HttpResponse view_openapi();

}  // namespace holdfast
