#include "model/codec.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "model/fields.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

template <class T>
inline constexpr bool kIsTime = std::same_as<T, Instant> || std::same_as<T, Duration> ||
                                std::same_as<T, std::optional<Instant>>;

// Times are integers, so their unit is in the key: "since_ns".
template <class T>
std::string key_of(std::string_view name) {
  return std::string(name) + (kIsTime<std::remove_const_t<T>> ? "_ns" : "");
}

// JSON holds UTF-8 only, and a rank may print any bytes: what is no UTF-8 becomes U+FFFD.
std::string utf8(const std::string& text) {
  if (std::ranges::all_of(text, [](unsigned char byte) { return byte < 0x80; })) return text;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

struct Writer {
  static json write(bool value) { return value; }
  static json write(const std::string& value) { return utf8(value); }
  static json write(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }
  static json write(Instant value) { return value.ns; }
  static json write(Duration value) { return value.ns; }
  static json write(WallTime value) { return value.ns; }
  template <std::integral T>
  static json write(T value) {
    return value;
  }
  template <class E>
  requires std::is_enum_v<E>
  static json write(E value) { return std::string(word_of(value)); }
  template <class Tag>
  static json write(StrongId<Tag> id) {
    return id ? json(to_string(id)) : json(nullptr);
  }
  template <class T>
  static json write(const std::optional<T>& value) {
    return value ? write(*value) : json(nullptr);
  }
  template <class T>
  static json write(const std::vector<T>& values) {
    return write_array(values);
  }
  template <class T>
  static json write(const std::set<T>& values) {
    return write_array(values);
  }
  template <class Key, class T>
  static json write(const std::map<Key, T>& values) {
    json object = json::object();
    for (const auto& [key, value] : values) object[key_text(key)] = write(value);
    return object;
  }
  template <HasFields T>
  static json write(const T& value) {
    json object = json::object();
    auto write_field = [&object]<class F>(std::string_view name, const F& field) {
      object[key_of<F>(name)] = write(field);
    };
    fields(write_field, value);
    return object;
  }

 private:
  static json write_array(const auto& values) {
    json array = json::array();
    for (const auto& value : values) array.push_back(write(value));
    return array;
  }
  static std::string key_text(const std::string& key) { return utf8(key); }
  template <class Tag>
  static std::string key_text(StrongId<Tag> id) {
    return to_string(id);
  }
};

// Reads one document. Keeps the first error and the path to where it was found, and skips the rest.
class Reader {
 public:
  explicit Reader(std::string root) : path_(std::move(root)) {}

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

  void fail(const std::string& problem) {
    if (!error_) error_ = Error{Errc::kUnparsable, path_ + ": " + problem};
  }

  void read(const json& from, bool& to) {
    if (!from.is_boolean()) return expected("true or false", from);
    to = from.get<bool>();
  }
  void read(const json& from, std::string& to) {
    if (!from.is_string()) return expected("a text", from);
    to = from.get<std::string>();
  }
  void read(const json& from, double& to) {
    if (!from.is_number() && !from.is_null()) return expected("a number or null", from);
    to = from.is_null() ? std::numeric_limits<double>::quiet_NaN() : from.get<double>();
  }
  void read(const json& from, Instant& to) { read(from, to.ns); }
  void read(const json& from, Duration& to) { read(from, to.ns); }
  void read(const json& from, WallTime& to) { read(from, to.ns); }
  template <std::integral T>
  void read(const json& from, T& to) {
    const bool fits = from.is_number_unsigned()  ? std::in_range<T>(from.get<std::uint64_t>())
                      : from.is_number_integer() ? std::in_range<T>(from.get<std::int64_t>())
                                                 : false;
    if (!fits) {
      return expected("an integer from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                          std::to_string(std::numeric_limits<T>::max()),
                      from);
    }
    to = from.get<T>();
  }
  template <class E>
  requires std::is_enum_v<E>
  void read(const json& from, E& to) {
    const auto value =
        from.is_string() ? parse_word<E>(from.get_ref<const std::string&>()) : std::nullopt;
    if (value) {
      to = *value;
      return;
    }
    std::string words;
    for (std::string_view word : kWords<E>) words.append(words.empty() ? "" : ", ").append(word);
    expected("one of " + words, from);
  }
  template <class Tag>
  void read(const json& from, StrongId<Tag>& to) {
    if (from.is_null()) {
      to = {};
    } else if (!from.is_string() || !parse_key(from.get_ref<const std::string&>(), to)) {
      expected(std::string("null or an id like \"") + Tag::kPrefix + "1\"", from);
    }
  }
  template <class T>
  void read(const json& from, std::optional<T>& to) {
    to.reset();
    if (!from.is_null()) read(from, to.emplace());
  }
  template <class T>
  void read(const json& from, std::vector<T>& to) {
    to.clear();
    read_array<T>(from, [&to](T value) { to.push_back(std::move(value)); });
  }
  template <class T>
  void read(const json& from, std::set<T>& to) {
    to.clear();
    read_array<T>(from, [&to](T value) { to.insert(std::move(value)); });
  }
  template <class Key, class T>
  void read(const json& from, std::map<Key, T>& to) {
    to.clear();
    if (!from.is_object()) return expected("an object", from);
    for (const auto& [text, item] : from.items()) {
      Key key{};
      if (!parse_key(text, key)) return fail(json(text).dump() + " is not a known kind of key");
      read_at("." + text, item, to[key]);
    }
  }
  template <HasFields T>
  void read(const json& from, T& to) {
    if (!from.is_object()) return expected("an object", from);
    std::set<std::string> known;
    auto read_field = [&]<class F>(std::string_view name, F& field) {
      const auto [key, unused] = known.insert(key_of<F>(name));
      const auto found = from.find(*key);
      if (found == from.end()) {
        if (std::ranges::find(kNewerFields<T>, name) != kNewerFields<T>.end()) return;
        return fail("the field \"" + *key + "\" is missing");
      }
      read_at("." + *key, *found, field);
    };
    fields(read_field, to);
    for (const auto& [key, unused] : from.items())
      if (!known.contains(key)) return fail("the field " + json(key).dump() + " is not known");
  }
  template <class... Alternatives>
  void read(const json& from, std::variant<Alternatives...>& to) {
    if (!from.is_object() || from.size() != 1) return expected("an object with one field", from);
    const std::string& tag = from.begin().key();
    auto try_one = [&]<class T>(std::type_identity<T>) {
      if (kTag<T> != tag) return false;
      read_at("." + tag, from.begin().value(), to.template emplace<T>());
      return true;
    };
    if (!(try_one(std::type_identity<Alternatives>{}) || ...))
      fail(json(tag).dump() + " is no kind of event that this version knows");
  }

 private:
  void expected(const std::string& what, const json& found) {
    constexpr std::size_t kShownMax = 60;
    std::string shown = found.dump(-1, ' ', /*ensure_ascii=*/true);
    if (shown.size() > kShownMax) shown = shown.substr(0, kShownMax) + "...";
    fail("expected " + what + ", found " + shown);
  }
  template <class T>
  void read_at(const std::string& step, const json& from, T& to) {
    if (error_) return;
    const std::size_t length = path_.size();
    path_ += step;
    read(from, to);
    path_.resize(length);
  }
  template <class T>
  void read_array(const json& from, const auto& add) {
    if (!from.is_array()) return expected("a list", from);
    for (std::size_t i = 0; i < from.size() && !error_; ++i) {
      T value{};
      read_at("[" + std::to_string(i) + "]", from[i], value);
      add(std::move(value));
    }
  }
  static bool parse_key(const std::string& text, std::string& key) {
    key = text;
    return true;
  }
  template <class Tag>
  static bool parse_key(std::string_view text, StrongId<Tag>& id) {
    if (text.size() < 2 || text[0] != Tag::kPrefix || text[1] == '0') return false;
    const char* end = text.data() + text.size();
    const auto [rest, status] = std::from_chars(text.data() + 1, end, id.value);
    return status == std::errc() && rest == end;
  }

  std::string path_;
  std::optional<Error> error_;
};

template <class T>
Result<T> decode(std::string root, std::string_view text) {
  Reader reader(std::move(root));
  const json document = parse_json_text(text);
  T value{};
  if (document.is_discarded()) {
    reader.fail("not a JSON document; it may have been cut short or edited");
  } else {
    reader.read(document, value);
  }
  if (reader.error()) return *reader.error();
  return value;
}

}  // namespace

std::string encode(const Event& event) {
  return std::visit(
      []<class T>(const T& alternative) {
        return json::object({{std::string(kTag<T>), Writer::write(alternative)}}).dump();
      },
      event);
}

std::string encode(const ClusterState& state) {
  return Writer::write(state).dump();
}

std::string encode(const ClusterSpec& spec) {
  return Writer::write(spec).dump();
}

Result<ClusterSpec> decode_cluster_spec(std::string_view text) {
  return decode<ClusterSpec>("spec", text);
}

Result<Event> decode_event(std::string_view text) {
  return decode<Event>("event", text);
}

Result<ClusterState> decode_cluster_state(std::string_view text) {
  return decode<ClusterState>("state", text);
}

std::string encode(const DevicesReading& reading) {
  return Writer::write(reading).dump();
}

std::string encode(const HostReading& reading) {
  return Writer::write(reading).dump();
}

Result<DevicesReading> decode_devices_reading(std::string_view text) {
  return decode<DevicesReading>("devices", text);
}

Result<HostReading> decode_host_reading(std::string_view text) {
  return decode<HostReading>("host", text);
}

json to_json_value(const NodeRecord& node) {
  return Writer::write(node);
}
json to_json_value(const JobRecord& job) {
  return Writer::write(job);
}
json to_json_value(const IncidentRecord& incident) {
  return Writer::write(incident);
}
json to_json_value(const Verdict& verdict) {
  return Writer::write(verdict);
}
json to_json_value(const CheckRun& run) {
  return Writer::write(run);
}
json to_json_value(const ClusterSpec& spec) {
  json view = Writer::write(spec);
  view["nodes"] = spec.nodes();
  view["spares"] = spec.spares();
  return view;
}

}  // namespace holdfast
