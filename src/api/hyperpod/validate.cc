#include "api/hyperpod/validate.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/hyperpod/timestamp.h"
#include "base/check.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;

constexpr std::size_t kViolationsShown = 20;
constexpr std::size_t kValueBytesShown = 256;

// Compiled once, at the first request.
const RE2& regex_of(const Shape& shape) {
  static const auto kRegexes = [] {
    RE2::Options options;
    options.set_log_errors(false);
    std::vector<std::unique_ptr<const RE2>> all;
    for (const Shape& each : shapes()) {
      const std::string_view pattern = each.translated.empty() ? each.pattern : each.translated;
      all.push_back(pattern.empty() ? nullptr
                                    : std::make_unique<const RE2>(std::string(pattern), options));
      CHECK(pattern.empty() || all.back()->ok());
    }
    return all;
  }();
  return *kRegexes[static_cast<std::size_t>(&shape - shapes().data())];
}

std::size_t code_points(const std::string& text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char byte) { return (byte & 0xC0) != 0x80; }));
}

std::string joined(std::span<const std::string_view> words) {
  std::string all;
  for (const std::string_view word : words) all.append(all.empty() ? "" : ", ").append(word);
  return all;
}

std::string noun_of(Type type) {
  switch (type) {
    case Type::kStructure:
    case Type::kMap:
      return "an object";
    case Type::kList:
      return "a list";
    case Type::kString:
      return "a string";
    case Type::kInteger:
    case Type::kLong:
      return "an integer";
    case Type::kFloat:
      return "a number";
    case Type::kBoolean:
      return "true or false";
    case Type::kTimestamp:
      return "a timestamp: seconds since 1970, or text like 2026-11-25T18:04:45Z";
  }
  return "?";
}

bool has_type(Type type, const json& value) {
  switch (type) {
    case Type::kStructure:
    case Type::kMap:
      return value.is_object();
    case Type::kList:
      return value.is_array();
    case Type::kString:
      return value.is_string();
    case Type::kInteger:
    case Type::kLong:
      return value.is_number_integer();
    case Type::kFloat:
      return value.is_number();
    case Type::kBoolean:
      return value.is_boolean();
    case Type::kTimestamp:
      return read_timestamp(value).has_value();
  }
  return false;
}

std::string cut(const std::string& text) {
  if (text.size() <= kValueBytesShown) return text;
  std::size_t end = kValueBytesShown;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

// "Value '7000'"; what is no single value is left out.
std::string shown(const json& value) {
  if (value.is_structured()) return "Value";
  return "Value '" + cut(value.is_string() ? value.get<std::string>() : value.dump()) + "'";
}

class Validator {
 public:
  void check(const Shape& shape, const json& value) {
    if (type_error_) return;
    if (!has_type(shape.type, value)) {
      type_error_ = shown(value) + " at '" + path_ + "' is not " + noun_of(shape.type);
      return;
    }
    switch (shape.type) {
      case Type::kStructure:
        return check_structure(shape, value);
      case Type::kList:
      case Type::kMap:
        return check_items(shape, value);
      case Type::kString:
        return check_string(shape, value.get_ref<const std::string&>());
      case Type::kInteger:
      case Type::kLong:
      case Type::kFloat:
        return check_number(shape, value);
      case Type::kBoolean:
      case Type::kTimestamp:
        return;
    }
  }

  [[nodiscard]] std::optional<ApiError> error() const {
    if (type_error_) return ApiError{ErrorType::kSerialization, *type_error_};
    if (violations_ == 0) return std::nullopt;
    return ApiError{
        ErrorType::kValidation,
        std::to_string(violations_) +
            (violations_ == 1 ? " validation error detected: " : " validation errors detected: ") +
            text_};
  }

 private:
  void violated(const std::string& value, const std::string& constraint) {
    if (++violations_ > kViolationsShown) return;
    text_.append(text_.empty() ? "" : "; ")
        .append(value)
        .append(" at '")
        .append(path_)
        .append("' failed to satisfy constraint: ")
        .append(constraint);
  }

  // `step` is added to the path meanwhile.
  template <class Check>
  void inside(const std::string& step, Check what) {
    const std::size_t length = path_.size();
    path_.append(path_.empty() ? "" : ".").append(step);
    what();
    path_.resize(length);
  }

  // AWS writes the names of members as Java does.
  static std::string path_name_of(const Member& member) {
    std::string name(member.name);
    if (name[0] >= 'A' && name[0] <= 'Z') name[0] = static_cast<char>(name[0] - 'A' + 'a');
    return name;
  }

  void check_structure(const Shape& shape, const json& value) {
    std::size_t given = 0;
    for (const Member& member : shape.members) {
      const auto found = value.find(member.name);
      const bool is_there = found != value.end() && !found->is_null();
      given += is_there;
      if (!is_there && !member.is_required) continue;
      inside(path_name_of(member), [&] {
        if (is_there)
          check(shape_of(member.shape), *found);
        else
          violated("Value null", "Member must not be null");
      });
    }
    if (shape.is_union && given != 1) violated("Value", "Member must have exactly one member set");
  }

  void check_items(const Shape& shape, const json& value) {
    check_limits(shape, "Value", "length", static_cast<std::int64_t>(value.size()));
    // No more than may be there: what is beyond is wrong in any case.
    const auto most = static_cast<std::size_t>(shape.max.value_or(INT64_MAX));
    std::size_t number = 0;
    for (auto item = value.begin(); item != value.end() && number < most; ++item) {
      ++number;
      if (shape.type == Type::kMap) {
        const Shape& key = shape_of(shape.key);
        inside(cut(item.key()) + ".key", [&] { check_string(key, item.key()); });
      }
      const std::string step = shape.type == Type::kMap ? cut(item.key()) + ".value"
                                                        : std::to_string(number) + ".member";
      inside(step, [&] {
        if (item->is_null())
          violated("Value null", "Member must not be null");
        else
          check(shape_of(shape.item), *item);
      });
    }
  }

  void check_string(const Shape& shape, const std::string& text) {
    if (!shape.words.empty() && std::ranges::find(shape.words, text) == shape.words.end())
      violated(shown(text), "Member must satisfy enum value set: [" + joined(shape.words) + "]");
    const auto length = static_cast<std::int64_t>(code_points(text));
    if (shape.min || shape.max) check_limits(shape, shown(text), "length", length);
    if (shape.pattern.empty() || (shape.max && length > *shape.max)) return;
    if (!RE2::FullMatch(text, regex_of(shape)))
      violated(shown(text),
               "Member must satisfy regular expression pattern: " + std::string(shape.pattern));
  }

  void check_number(const Shape& shape, const json& value) {
    const bool is_small = shape.type == Type::kInteger;
    Shape limits = shape;
    if (is_small && !limits.min) limits.min = std::numeric_limits<std::int32_t>::min();
    if (is_small && !limits.max) limits.max = std::numeric_limits<std::int32_t>::max();
    if (value.is_number_float())
      return check_limits(limits, shown(value), "value", value.get<double>());
    const bool is_huge = value.is_number_unsigned() &&
                         value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
    if (is_huge && !limits.max) limits.max = INT64_MAX - 1;
    check_limits(limits, shown(value), "value", is_huge ? INT64_MAX : value.get<std::int64_t>());
  }

  template <class Number>
  void check_limits(const Shape& shape, const std::string& value, const std::string& what,
                    Number number) {
    if (shape.min && number < static_cast<Number>(*shape.min))
      violated(value, "Member must have " + what + " greater than or equal to " +
                          std::to_string(*shape.min));
    if (shape.max && number > static_cast<Number>(*shape.max))
      violated(value,
               "Member must have " + what + " less than or equal to " + std::to_string(*shape.max));
  }

  std::string path_;
  std::optional<std::string> type_error_;
  std::size_t violations_ = 0;
  std::string text_;
};

}  // namespace

std::optional<ApiError> validate(const Shape& shape, const json& value) {
  Validator validator;
  validator.check(shape, value);
  return validator.error();
}

json known_part(const Shape& shape, const json& value) {
  json known = value.is_array() ? json::array() : json::object();
  switch (shape.type) {
    case Type::kStructure:
      for (const Member& member : shape.members) {
        const auto found = value.find(member.name);
        if (found != value.end() && !found->is_null())
          known[std::string(member.name)] = known_part(shape_of(member.shape), *found);
      }
      return known;
    case Type::kList:
      for (const json& item : value) known.push_back(known_part(shape_of(shape.item), item));
      return known;
    case Type::kMap:
      for (const auto& [key, item] : value.items())
        known[key] = known_part(shape_of(shape.item), item);
      return known;
    default:
      return value;
  }
}

}  // namespace holdfast::hyperpod
