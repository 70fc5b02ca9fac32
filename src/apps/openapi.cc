#include "apps/openapi.h"

#include <span>
#include <string>

#include "apps/embedded_file.h"

namespace holdfast {

std::span<const EmbeddedFile> openapi_files();  // generated from docs/openapi.yaml

HttpResponse view_openapi() {
  return {200, std::string(openapi_files().front().content), "application/yaml"};
}

}  // namespace holdfast
