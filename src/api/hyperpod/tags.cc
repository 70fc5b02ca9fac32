#include "api/hyperpod/tags.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "api/hyperpod/group_request.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;

constexpr const char* kTags = "Tags";
constexpr const char* kTagsOfOthers = "TagsOfResources";  // by the end of their ARNs

json specification_of(const ClusterSpec& spec) {
  json object = json::parse(spec.specification, nullptr, /*allow_exceptions=*/false);
  return object.is_object() ? object : json::object();
}

std::string resource_of(const TagOwner& owner) {
  return owner.kind + "/" + owner.id;
}

std::map<std::string, std::string> read(const json& specification, const TagOwner& owner) {
  const json tags = owner.is_cluster() ? specification.value(kTags, json::array())
                                       : specification.value(kTagsOfOthers, json::object())
                                             .value(resource_of(owner), json::array());
  std::map<std::string, std::string> by_key;
  for (const json& tag : tags) by_key[tag["Key"]] = tag["Value"];
  return by_key;
}

json written(const std::map<std::string, std::string>& by_key) {
  json tags = json::array();
  for (const auto& [key, value] : by_key) tags.push_back({{"Key", key}, {"Value", value}});
  return tags;
}

void put(ClusterSpec& spec, const TagOwner& owner,
         const std::map<std::string, std::string>& by_key) {
  json specification = specification_of(spec);
  if (owner.is_cluster()) {
    specification[kTags] = written(by_key);
  } else {
    json others = specification.value(kTagsOfOthers, json::object());
    others.erase(resource_of(owner));
    if (!by_key.empty()) others[resource_of(owner)] = written(by_key);
    specification.erase(kTagsOfOthers);
    if (!others.empty()) specification[kTagsOfOthers] = std::move(others);
  }
  spec.specification = specification.dump();
}

}  // namespace

std::optional<TagOwner> read_tag_owner(std::string_view arn, const Site& site) {
  const std::string wanted = ":sagemaker:" + site.region + ":" + site.account + ":";
  const std::size_t at = arn.find(wanted);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view resource = arn.substr(at + wanted.size());
  const std::size_t slash = resource.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  TagOwner owner{std::string(resource.substr(0, slash)), std::string(resource.substr(slash + 1))};
  const bool is_known = owner.is_cluster() || owner.kind == "cluster-scheduler-config" ||
                        owner.kind == "compute-quota";
  return is_known ? std::optional(std::move(owner)) : std::nullopt;
}

json tags_of(const ClusterSpec& spec, const TagOwner& owner) {
  auto by_key = read(specification_of(spec), owner);
  if (owner.is_cluster())
    for (auto& [key, value] : by_key)
      if (key.starts_with(kSparesTag))
        if (const InstanceGroup* group = spec.find_group(key.substr(kSparesTag.size())))
          value = std::to_string(group->spares);
  return written(by_key);
}

std::variant<ClusterSpec, ApiError> with_tags(const ClusterSpec& spec, const TagOwner& owner,
                                              const json& tags) {
  ClusterSpec tagged = spec;
  auto by_key = read(specification_of(spec), owner);
  for (const json& tag : tags) by_key[tag["Key"]] = tag["Value"];
  if (by_key.size() > kTagsMax)
    return ApiError{ErrorType::kValidation, "Tags: the resource would have " +
                                                std::to_string(by_key.size()) + "; " +
                                                std::to_string(kTagsMax) + " are the most."};
  if (owner.is_cluster())
    if (auto error = read_tags({{kTags, tags}}, tagged.groups)) return *error;
  put(tagged, owner, by_key);
  return tagged;
}

ClusterSpec without_tags(const ClusterSpec& spec, const TagOwner& owner,
                         const std::vector<std::string>& keys) {
  ClusterSpec left = spec;
  auto by_key = read(specification_of(spec), owner);
  for (const std::string& key : keys) by_key.erase(key);
  put(left, owner, by_key);
  return left;
}

}  // namespace holdfast::hyperpod
