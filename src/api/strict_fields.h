#pragma once

// Files that people write, in YAML or JSON, read strictly: an unknown key, a wrong type or a value
// out of its range is an error that names the place, the field, the value and the remedy.
//
//   HF_TRY(const FieldValue root, parse_yaml(text, "train.yaml", {"job", "two"}));
//   FieldReader reader("train.yaml", "job");
//   reader.read_fields(root, "", {{"nodes", reader.count_into(spec.nodes)}});
//   if (reader.error()) return *reader.error();
//
// Nothing here touches a file system.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace holdfast {

// One value of such a file, YAML and JSON alike.
struct FieldValue {
  enum class Kind { kNothing, kScalar, kList, kMap };
  Kind kind = Kind::kNothing;
  std::string text;     // kScalar
  bool quoted = false;  // kScalar: text for certain, never a number
  int line = 0;         // 0: unknown
  std::vector<FieldValue> items;
  std::vector<std::pair<std::string, FieldValue>> fields;
};

// What such a text is called in errors: "a job has at most two levels".
struct TextKind {
  std::string_view noun;    // "job"
  std::string_view levels;  // "two"
};

// `file` names the text in errors. Refused is what is larger than 1 MiB, nested too deep or has too
// many values.
[[nodiscard]] Result<FieldValue> parse_yaml(std::string_view text, const std::string& file,
                                            const TextKind& kind);
// The body of a request.
[[nodiscard]] Result<FieldValue> parse_json(std::string_view text, const TextKind& kind);

// Fills a struct from a tree. The first error is kept and ends the reading. Paths are those of
// people: "hang.stall_s", "faults[2].shows.xid".
class FieldReader {
 public:
  using Read = std::function<void(const FieldValue&, const std::string& path)>;
  struct Field {
    std::string_view name;
    Read read;
  };

  // `root` is what errors about the whole call it ("job").
  FieldReader(std::string file, std::string root)
      : file_(std::move(file)), root_(std::move(root)) {}

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  // Line of a field that was given; of the root for one that was not.
  [[nodiscard]] int line_of(const std::string& path) const;
  [[nodiscard]] bool given(const std::string& path) const { return lines_.contains(path); }
  // "train.yaml:3: "; empty without a file.
  [[nodiscard]] std::string place(int line) const;

  void read_fields(const FieldValue& map, const std::string& path, const std::vector<Field>& known);
  void read_list(const FieldValue& list, const std::string& path, const Read& read);

  void fail(Errc code, const FieldValue& value, const std::string& path, const std::string& what);
  // "'x' is not allowed; REMEDY"
  void wrong_type(const FieldValue& value, const std::string& path, const std::string& remedy);
  void keep(Error error);

  [[nodiscard]] Read text_into(std::string& out);
  [[nodiscard]] Read count_into(std::uint32_t& out);
  [[nodiscard]] Read count_into(std::uint64_t& out);
  [[nodiscard]] Read integer_into(std::int32_t& out);
  [[nodiscard]] Read flag_into(bool& out);  // true or false
  // One of `words`; the index of it.
  [[nodiscard]] Read word_into(std::size_t& out, std::vector<std::string_view> words);

 private:
  template <class Integer>
  [[nodiscard]] Read number_into(Integer& out);

  std::string file_;
  std::string root_;
  std::map<std::string, int> lines_;  // of each field that was given
  std::optional<Error> error_;
};

// The one of `words` that `word` is probably a misspelling of; empty: none is close.
[[nodiscard]] std::string_view closest_word(std::string_view word,
                                            const std::vector<std::string_view>& words);

}  // namespace holdfast
