#include "api/hyperpod/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "api/hyperpod/pattern_sample_test.h"
#include "base/prng.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// Random values of a shape.
class Sampler {
 public:
  // `full`: every member is there, otherwise those that are not required by chance.
  Sampler(std::uint64_t seed, bool full) : prng_(seed), full_(full) {}

  json sample(const Shape& shape) {
    switch (shape.type) {
      case Type::kStructure:
        return structure(shape);
      case Type::kList:
        return list(shape);
      case Type::kMap: {
        json map = json::object();
        map[text(shape_of(shape.key))] = sample(shape_of(shape.item));
        return map;
      }
      case Type::kString:
        return text(shape);
      case Type::kInteger:
      case Type::kLong:
      case Type::kFloat: {
        const std::int64_t least = shape.min.value_or(-1000), most = shape.max.value_or(least + 9);
        return least +
               static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(most - least) + 1));
      }
      case Type::kBoolean:
        return prng_.chance(1, 2);
      case Type::kTimestamp:
        return 1'700'000'000 + prng_.below(1'000'000);
    }
    return {};
  }

 private:
  json structure(const Shape& shape) {
    json value = json::object();
    const std::size_t chosen = shape.is_union ? unions_++ % shape.members.size() : 0;
    for (std::size_t i = 0; i < shape.members.size(); ++i) {
      const Member& member = shape.members[i];
      const bool wanted =
          shape.is_union ? i == chosen : full_ || member.is_required || prng_.chance(1, 2);
      if (wanted) value[std::string(member.name)] = sample(shape_of(member.shape));
    }
    return value;
  }

  // Of unions one of each kind.
  json list(const Shape& shape) {
    const Shape& item = shape_of(shape.item);
    const auto least = static_cast<std::uint64_t>(shape.min.value_or(0));
    std::uint64_t count = std::max<std::uint64_t>(least, full_ ? 1 : prng_.below(3));
    if (item.is_union) count = item.members.size();
    if (shape.max) count = std::min(count, static_cast<std::uint64_t>(*shape.max));
    json items = json::array();
    while (items.size() < count) items.push_back(sample(item));
    return items;
  }

  std::string text(const Shape& shape) {
    if (!shape.words.empty()) return std::string(shape.words[prng_.below(shape.words.size())]);
    const std::string_view pattern = !shape.translated.empty() ? shape.translated
                                     : shape.pattern.empty()   ? "[a-z]{1,9}"
                                                               : shape.pattern;
    for (int attempt = 0; attempt < 5000; ++attempt) {
      std::string sampled = PatternSampler(prng_).sample(pattern);
      if (!validate(shape, sampled)) return sampled;
    }
    ADD_FAILURE() << "no text was found for " << shape.name << ": " << pattern;
    return "";
  }

  Prng prng_;
  bool full_;
  std::size_t unions_ = 0;
};

// A place in a value: where it is, what it must be, and how errors name it.
struct Place {
  json::json_pointer at;
  const Shape* shape;
  std::string path;
  bool is_required;
};

void find_places(const json& value, const Place& place, const std::function<void(Place)>& found) {
  found(place);
  const auto inside = [&](const Shape& shape, const std::string& step, const std::string& key,
                          bool required, const json& child) {
    find_places(
        child,
        {place.at / key, &shape, place.path + (place.path.empty() ? "" : ".") + step, required},
        found);
  };
  if (place.shape->type == Type::kStructure) {
    for (const Member& member : place.shape->members) {
      const std::string name(member.name);
      std::string step = name;
      step[0] = static_cast<char>(std::tolower(step[0]));
      if (value.contains(name))
        inside(shape_of(member.shape), step, name, member.is_required, value[name]);
    }
  } else if (place.shape->type == Type::kList) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      const std::string number = std::to_string(i + 1);
      find_places(value[i],
                  {place.at / i, &shape_of(place.shape->item),
                   place.path + "." + number + ".member", false},
                  found);
    }
  } else if (place.shape->type == Type::kMap) {
    for (const auto& [key, item] : value.items())
      inside(shape_of(place.shape->item), key + ".value", key, false, item);
  }
}

std::string message_of(const Shape& shape, const json& value) {
  const auto error = validate(shape, value);
  return error ? error->message : "";
}

// Each value that breaks one constraint of the place, with what the error must say.
struct Breach {
  json value;
  std::string constraint;
};
std::vector<Breach> breaches(const Shape& shape, const json& valid) {
  std::vector<Breach> all;
  const auto least = "greater than or equal to " + std::to_string(shape.min.value_or(0));
  const auto most = "less than or equal to " + std::to_string(shape.max.value_or(0));
  switch (shape.type) {
    case Type::kInteger:
    case Type::kLong:
    case Type::kFloat:
      if (shape.min) all.push_back({*shape.min - 1, "value " + least});
      if (shape.max) all.push_back({*shape.max + 1, "value " + most});
      break;
    case Type::kList:
      if (shape.min.value_or(0) > 0) all.push_back({json::array(), "length " + least});
      if (shape.max)
        all.push_back({json::array_t(static_cast<std::size_t>(*shape.max) + 1,
                                     valid.empty() ? json("x") : valid[0]),
                       "length " + most});
      break;
    case Type::kString: {
      if (!shape.words.empty()) all.push_back({"no-such-word", "enum value set: ["});
      if (shape.min.value_or(0) > 0) all.push_back({"", "length " + least});
      if (shape.max)
        all.push_back({valid.get<std::string>() +
                           std::string(static_cast<std::size_t>(*shape.max), 'a') + "a",
                       "length " + most});
      if (shape.pattern.empty()) break;
      bool broken = false;
      for (const char* text : {"\n", "!", "", "é\n"}) {
        if (message_of(shape, text).find("regular expression") == std::string::npos) continue;
        all.push_back({text, "regular expression pattern: " + std::string(shape.pattern)});
        broken = true;
        break;
      }
      EXPECT_TRUE(broken) << shape.name << " matches everything";
      break;
    }
    default:
      break;
  }
  return all;
}

TEST(Validate, TakesRandomValidRequests) {
  for (const Operation& operation : operations()) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const json body = Sampler(seed, false).sample(operation.input);
      ASSERT_EQ(message_of(operation.input, body), "") << operation.name << " " << body.dump();
      EXPECT_EQ(known_part(operation.input, body), body);
    }
  }
}

TEST(Validate, RefusesWhatBreaksOneConstraint) {
  std::size_t tried = 0;
  for (const Operation& operation : operations()) {
    const json valid = Sampler(7, true).sample(operation.input);
    ASSERT_EQ(message_of(operation.input, valid), "") << operation.name;
    find_places(valid, {json::json_pointer(), &operation.input, "", false},
                [&](const Place& place) {
                  const std::string named = "at '" + place.path + "'";
                  for (const Breach& breach : breaches(*place.shape, valid[place.at])) {
                    json body = valid;
                    body[place.at] = breach.value;
                    const std::string message = message_of(operation.input, body);
                    EXPECT_THAT(message, HasSubstr(named + " failed to satisfy constraint"))
                        << operation.name;
                    EXPECT_THAT(message, HasSubstr(breach.constraint))
                        << operation.name << " " << place.path;
                    ++tried;
                  }
                  if (place.is_required) {
                    json body = valid;
                    body[place.at] = nullptr;
                    EXPECT_EQ(message_of(operation.input, body),
                              "1 validation error detected: Value null " + named +
                                  " failed to satisfy constraint: Member must not be null");
                    ++tried;
                  }
                  json body = valid;
                  body[place.at] = place.shape->type == Type::kString ? json(7) : json("text");
                  const auto error = validate(operation.input, body);
                  ASSERT_TRUE(error) << operation.name << " " << place.path;
                  EXPECT_EQ(error->type, ErrorType::kSerialization);
                  EXPECT_THAT(error->message, HasSubstr(named + " is not "));
                  ++tried;
                });
  }
  EXPECT_GT(tried, 1000U);
}

TEST(Validate, TakesAUnionWithExactlyOneMember) {
  const Shape& storage = *find_shape("ClusterInstanceStorageConfig");
  const json volume = {{"VolumeSizeInGB", 100}};
  EXPECT_EQ(message_of(storage, {{"EbsVolumeConfig", volume}}), "");
  const json fsx = {{"DnsName", "fs-0123456789abcdef0.fsx.us-west-2.amazonaws.com"},
                    {"MountName", "fsx"}};
  EXPECT_THAT(message_of(storage, {{"EbsVolumeConfig", volume}, {"FsxLustreConfig", fsx}}),
              HasSubstr("exactly one member"));
  EXPECT_THAT(message_of(storage, json::object()), HasSubstr("exactly one member"));
}

TEST(Validate, IgnoresUnknownMembersAndNulls) {
  const Shape& input = find_operation("DescribeCluster")->input;
  const json body = {{"ClusterName", "c1"}, {"Later", {{"x", 1}}}};
  EXPECT_EQ(message_of(input, body), "");
  EXPECT_EQ(known_part(input, body), json({{"ClusterName", "c1"}}));
  const Shape& list = find_operation("ListClusters")->input;
  EXPECT_EQ(message_of(list, {{"MaxResults", nullptr}}), "");
  EXPECT_EQ(known_part(list, {{"MaxResults", nullptr}}), json::object());
}

TEST(Validate, NamesEverythingThatIsWrong) {
  const json body = {
      {"InstanceGroups",
       {{{"InstanceGroupName", "w"}, {"InstanceCount", 7000}, {"ExecutionRole", nullptr}}}}};
  EXPECT_EQ(message_of(find_operation("CreateCluster")->input, body),
            "3 validation errors detected: Value null at 'clusterName' failed to satisfy "
            "constraint: Member must not be null; Value '7000' at "
            "'instanceGroups.1.member.instanceCount' failed to satisfy constraint: Member must "
            "have value less than or equal to 6758; Value null at "
            "'instanceGroups.1.member.executionRole' failed to satisfy constraint: Member must "
            "not be null");
}

TEST(Validate, KeepsItsMessagesShort) {
  const json body = {{"ClusterName", "c1"},
                     {"NodeIds", json::array_t(3000, std::string(10'000, 'x'))}};
  const std::string message = message_of(find_operation("BatchDeleteClusterNodes")->input, body);
  EXPECT_TRUE(message.starts_with("3000 validation errors detected: "));
  EXPECT_LT(message.size(), 20U * 600);
}

TEST(Validate, CountsCodePoints) {
  Shape shape{.name = "Text", .type = Type::kString, .min = 1, .max = 2};
  EXPECT_EQ(message_of(shape, "éé"), "");
  EXPECT_THAT(message_of(shape, "ééé"), HasSubstr("length less than or equal to 2"));
}

TEST(Validate, KnowsTheEndsOfIntegers) {
  const Shape small{.name = "Small", .type = Type::kInteger};
  EXPECT_EQ(message_of(small, 2147483647), "");
  EXPECT_THAT(message_of(small, 2147483648), HasSubstr("less than or equal to 2147483647"));
  const Shape large{.name = "Large", .type = Type::kLong};
  EXPECT_EQ(message_of(large, INT64_MAX), "");
  EXPECT_NE(message_of(large, UINT64_MAX), "");
  EXPECT_EQ(validate(small, 1.5)->type, ErrorType::kSerialization);
}

TEST(ServiceModel, HasTheOperationsOfHyperPod) {
  EXPECT_EQ(operations().size(), 48U);
  EXPECT_TRUE(service_model_version().starts_with("botocore "));
  for (const Operation& operation : operations()) {
    EXPECT_EQ(find_operation(operation.name), &operation);
    EXPECT_EQ(find_shape(operation.input.name), &operation.input);
  }
  EXPECT_EQ(find_operation("CreateTrainingJob"), nullptr);
  EXPECT_EQ(find_operation("CreateCluster")->errors.size(), 2U);
}

}  // namespace
}  // namespace holdfast::hyperpod
