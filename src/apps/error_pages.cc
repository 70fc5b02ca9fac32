#include "apps/error_pages.h"

#include <span>
#include <string>

#include "apps/embedded_file.h"

namespace holdfast {

std::span<const EmbeddedFile> error_page_files();  // generated from docs/errors/HF*.md

std::optional<std::string_view> error_page(std::string_view code) {
  const std::string path = std::string(code) + ".md";
  for (const EmbeddedFile& file : error_page_files())
    if (file.path == path) return file.content;
  return std::nullopt;
}

}  // namespace holdfast
