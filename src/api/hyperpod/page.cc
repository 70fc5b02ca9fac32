#include "api/hyperpod/page.h"

#include <nlohmann/json.hpp>

#include "api/hyperpod/ids.h"
#include "base/digest.h"

namespace holdfast::hyperpod {
namespace {

constexpr std::size_t kFingerprintDigits = 16;

// How many are asked for may change from page to page, and nothing else.
std::uint64_t fingerprint(const Operation& operation, nlohmann::json body) {
  body.erase("NextToken");
  body.erase("MaxResults");
  Digest digest;
  digest.add(operation.name);
  digest.add(body.dump());
  return digest.value();
}

}  // namespace

std::string Page::token(const std::string& key) const {
  return hex_of(query, kFingerprintDigits) + key;
}

std::optional<Page> read_page(const Operation& operation, const nlohmann::json& body) {
  const bool newest_first =
      operation.name != "ListClusters" && operation.name != "ListClusterNodes";
  Page page{.size = body.value("MaxResults", kPageMax),
            .is_descending =
                body.value("SortOrder", newest_first ? "Descending" : "Ascending") == "Descending",
            .query = fingerprint(operation, body)};
  const std::string token = body.value("NextToken", "");
  if (token.empty()) return page;
  if (token.size() <= kFingerprintDigits || !token.starts_with(page.token(""))) return std::nullopt;
  page.after = token.substr(kFingerprintDigits);
  return page;
}

}  // namespace holdfast::hyperpod
