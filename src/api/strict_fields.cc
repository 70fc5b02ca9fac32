#include "api/strict_fields.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include <yaml-cpp/yaml.h>
#include <nlohmann/json.hpp>

#include "model/json_text.h"

namespace holdfast {
namespace {

constexpr std::size_t kTextMax = 1 << 20;
constexpr int kDepthMax = 6;
// Aliases make a small YAML file into a tree without end; nobody's file has this many values.
constexpr std::size_t kValuesMax = 10'000;

std::string shown(const FieldValue& value) {
  switch (value.kind) {
    case FieldValue::Kind::kNothing:
      return "nothing";
    case FieldValue::Kind::kList:
      return "a list";
    case FieldValue::Kind::kMap:
      return "a map";
    case FieldValue::Kind::kScalar:
      break;
  }
  return "'" + (value.text.size() > 60 ? value.text.substr(0, 60) + "..." : value.text) + "'";
}

class TreeBuilder {
 public:
  TreeBuilder(std::string file, const TextKind& kind) : file_(std::move(file)), kind_(kind) {}

  Result<FieldValue> build(const YAML::Node& node, int depth = 0) {
    const int line = node.Mark().is_null() ? 1 : node.Mark().line + 1;
    HF_TRY_VOID(count(line, depth));
    FieldValue value;
    value.line = line;
    if (node.IsScalar()) {
      value.kind = FieldValue::Kind::kScalar;
      value.text = node.Scalar();
      value.quoted = node.Tag() == "!";
    } else if (node.IsSequence()) {
      value.kind = FieldValue::Kind::kList;
      for (const auto& item : node) {
        HF_TRY(FieldValue child, build(item, depth + 1));
        value.items.push_back(std::move(child));
      }
    } else if (node.IsMap()) {
      value.kind = FieldValue::Kind::kMap;
      for (const auto& field : node) {
        if (!field.first.IsScalar())
          return at(line, "a key is not a word; write `key: value` pairs");
        HF_TRY(FieldValue child, build(field.second, depth + 1));
        // The parser places what is missing where the next thing begins.
        if (child.kind == FieldValue::Kind::kNothing) child.line = field.first.Mark().line + 1;
        value.fields.push_back({field.first.Scalar(), std::move(child)});
      }
    }
    return value;
  }

  Result<FieldValue> build(const nlohmann::json& json, int depth = 0) {
    HF_TRY_VOID(count(0, depth));
    FieldValue value;
    if (json.is_array()) {
      value.kind = FieldValue::Kind::kList;
      for (const auto& item : json) {
        HF_TRY(FieldValue child, build(item, depth + 1));
        value.items.push_back(std::move(child));
      }
    } else if (json.is_object()) {
      value.kind = FieldValue::Kind::kMap;
      for (const auto& [key, field] : json.items()) {
        HF_TRY(FieldValue child, build(field, depth + 1));
        value.fields.push_back({key, std::move(child)});
      }
    } else if (!json.is_null()) {
      value.kind = FieldValue::Kind::kScalar;
      value.quoted = json.is_string();
      value.text = value.quoted ? json.get<std::string>() : json.dump();
    }
    return value;
  }

 private:
  Error at(int line, const std::string& what) const {
    return {Errc::kUnparsable,
            (file_.empty() ? "" : file_ + ":" + std::to_string(line) + ": ") + what};
  }
  Result<void> count(int line, int depth) {
    const std::string noun(kind_.noun);
    if (depth > kDepthMax)
      return at(line, "nested too deep; a " + noun + " has at most " + std::string(kind_.levels) +
                          " levels");
    if (++values_ > kValuesMax)
      return at(line, "more than 10000 values; no " + noun + " needs so many");
    return {};
  }

  std::string file_;
  TextKind kind_;
  std::size_t values_ = 0;
};

std::string joined(const std::vector<std::string_view>& names) {
  std::string all;
  for (std::string_view name : names) all += (all.empty() ? "" : ", ") + std::string(name);
  return all;
}

}  // namespace

Result<FieldValue> parse_yaml(std::string_view text, const std::string& file,
                              const TextKind& kind) {
  if (text.size() > kTextMax)
    return Error{Errc::kUnparsable,
                 file + ": larger than 1 MiB; a " + std::string(kind.noun) + " is a few lines"};
  try {
    return TreeBuilder(file, kind).build(YAML::Load(std::string(text)));
  } catch (const YAML::Exception& error) {
    return Error{Errc::kUnparsable, file + ":" + std::to_string(error.mark.line + 1) + ":" +
                                        std::to_string(error.mark.column + 1) + ": " + error.msg};
  }
}

Result<FieldValue> parse_json(std::string_view text, const TextKind& kind) {
  const std::string noun(kind.noun);
  if (text.size() > kTextMax)
    return Error{Errc::kUnparsable, noun + ": larger than 1 MiB; a " + noun + " is a few lines"};
  const auto json = parse_json_text(text);
  if (json.is_discarded())
    return Error{Errc::kUnparsable, noun + ": the body is not JSON; send a JSON object"};
  return TreeBuilder("", kind).build(json);
}

int FieldReader::line_of(const std::string& path) const {
  const auto line = lines_.find(path);
  if (line != lines_.end()) return line->second;
  const auto root = lines_.find("");
  return root != lines_.end() ? root->second : 0;
}

std::string FieldReader::place(int line) const {
  return file_.empty() ? "" : file_ + ":" + std::to_string(line) + ": ";
}

void FieldReader::fail(Errc code, const FieldValue& value, const std::string& path,
                       const std::string& what) {
  keep(Error{code, place(value.line) + path + ": " + what});
}

void FieldReader::wrong_type(const FieldValue& value, const std::string& path,
                             const std::string& remedy) {
  fail(Errc::kInvalidField, value, path, shown(value) + " is not allowed; " + remedy);
}

void FieldReader::keep(Error error) {
  if (!error_) error_ = std::move(error);
}

void FieldReader::read_fields(const FieldValue& map, const std::string& path,
                              const std::vector<Field>& known) {
  if (error_) return;
  if (path.empty()) lines_[""] = map.line;
  std::vector<std::string_view> names;
  for (const Field& field : known) names.push_back(field.name);
  if (map.kind != FieldValue::Kind::kMap)
    return wrong_type(map, path.empty() ? root_ : path,
                      "give `key: value` pairs, with the keys " + joined(names));
  for (const auto& [key, value] : map.fields) {
    const std::string child = path.empty() ? key : path + "." + key;
    const auto field = std::ranges::find(known, key, &Field::name);
    if (field == known.end()) {
      const std::string_view close = closest_word(key, names);
      return fail(Errc::kUnknownField, value, child,
                  "no such field; " + (close.empty() ? "there are " + joined(names)
                                                     : "did you mean " + std::string(close) + "?"));
    }
    if (!lines_.emplace(child, value.line).second)
      return fail(Errc::kInvalidField, value, child, "given twice; remove one");
    field->read(value, child);
    if (error_) return;
  }
}

void FieldReader::read_list(const FieldValue& list, const std::string& path, const Read& read) {
  if (error_) return;
  if (list.kind != FieldValue::Kind::kList)
    return wrong_type(list, path, "give a list, each item on a line that begins with `- `");
  for (std::size_t i = 0; i < list.items.size() && !error_; ++i) {
    const std::string child = path + "[" + std::to_string(i) + "]";
    lines_[child] = list.items[i].line;
    read(list.items[i], child);
  }
}

FieldReader::Read FieldReader::text_into(std::string& out) {
  return [this, &out](const FieldValue& value, const std::string& path) {
    if (value.kind != FieldValue::Kind::kScalar) return wrong_type(value, path, "give a text");
    out = value.text;
  };
}

template <class Integer>
FieldReader::Read FieldReader::number_into(Integer& out) {
  return [this, &out](const FieldValue& value, const std::string& path) {
    const char* end = value.text.data() + value.text.size();
    const auto parsed = std::from_chars(value.text.data(), end, out);
    if (value.kind != FieldValue::Kind::kScalar || value.quoted || parsed.ec != std::errc() ||
        parsed.ptr != end)
      wrong_type(value, path, "give a whole number");
  };
}

FieldReader::Read FieldReader::count_into(std::uint32_t& out) {
  return number_into(out);
}

FieldReader::Read FieldReader::count_into(std::uint64_t& out) {
  return number_into(out);
}

FieldReader::Read FieldReader::integer_into(std::int32_t& out) {
  return number_into(out);
}

FieldReader::Read FieldReader::flag_into(bool& out) {
  return [this, &out](const FieldValue& value, const std::string& path) {
    if (value.kind != FieldValue::Kind::kScalar || value.quoted ||
        (value.text != "true" && value.text != "false"))
      return wrong_type(value, path, "give true or false");
    out = value.text == "true";
  };
}

FieldReader::Read FieldReader::word_into(std::size_t& out, std::vector<std::string_view> words) {
  return [this, &out, words = std::move(words)](const FieldValue& value, const std::string& path) {
    const auto word = std::ranges::find(words, value.text);
    if (value.kind == FieldValue::Kind::kScalar && word != words.end()) {
      out = static_cast<std::size_t>(word - words.begin());
      return;
    }
    const std::string_view close = closest_word(value.text, words);
    wrong_type(value, path,
               close.empty() ? "give one of " + joined(words)
                             : "did you mean " + std::string(close) + "?");
  };
}

std::string_view closest_word(std::string_view word, const std::vector<std::string_view>& words) {
  std::string_view best;
  std::size_t best_distance = 3;  // at most 2 edits
  for (std::string_view candidate : words) {
    if (word.size() > candidate.size() + 2) continue;
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < word.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i + 1);
      for (std::size_t k = 0; k < candidate.size(); ++k) {
        const std::size_t replaced = diagonal + (word[i] == candidate[k] ? 0 : 1);
        diagonal = row[k + 1];
        row[k + 1] = std::min({row[k + 1] + 1, row[k] + 1, replaced});
      }
    }
    // A short word is two edits away from everything.
    if (row.back() < best_distance && row.back() * 2 < candidate.size()) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace holdfast
