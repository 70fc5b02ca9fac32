#include "io/link_codec.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <concepts>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "io/link_fields.h"

namespace holdfast {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kItemsMax = 4096;

// Walks over a message's fields in step with those of its struct. A difference between the two is a
// programmer's error that the first message of its kind brings to light, whatever its content.
class FieldCursor {
 public:
  explicit FieldCursor(const Message& message) : descriptor_(message.GetDescriptor()) {}
  ~FieldCursor() { CHECK(next_ == descriptor_->field_count()); }
  FieldCursor(const FieldCursor&) = delete;
  FieldCursor& operator=(const FieldCursor&) = delete;

  template <class T>
  const FieldDescriptor* next(std::string_view name) {
    CHECK(next_ < descriptor_->field_count());
    const FieldDescriptor* field = descriptor_->field(next_++);
    std::string_view wire_name = field->name();
    if constexpr (std::same_as<T, Duration>) {
      CHECK(wire_name.ends_with("_ns"));
      wire_name.remove_suffix(3);
    }
    CHECK(wire_name == name);
    return field;
  }

 private:
  const google::protobuf::Descriptor* descriptor_;
  int next_ = 0;
};

class Writer {
 public:
  template <HasFields T>
  static void write(Message& to, const T& value) {
    Writer writer(to);
    FieldCursor cursor(to);
    auto write_field = [&]<class F>(std::string_view name, const F& field) {
      writer.set(cursor.next<F>(name), field);
    };
    fields(write_field, value);
  }

 private:
  explicit Writer(Message& to) : to_(to), reflection_(*to.GetReflection()) {}

  using Field = const FieldDescriptor*;
  void set(Field field, bool value) { reflection_.SetBool(&to_, field, value); }
  void set(Field field, std::uint16_t value) { reflection_.SetUInt32(&to_, field, value); }
  void set(Field field, std::uint32_t value) { reflection_.SetUInt32(&to_, field, value); }
  void set(Field field, std::uint64_t value) { reflection_.SetUInt64(&to_, field, value); }
  void set(Field field, std::int32_t value) { reflection_.SetInt32(&to_, field, value); }
  void set(Field field, std::int64_t value) { reflection_.SetInt64(&to_, field, value); }
  void set(Field field, double value) { reflection_.SetDouble(&to_, field, value); }
  void set(Field field, const std::string& value) { reflection_.SetString(&to_, field, value); }
  void set(Field field, Duration value) { set(field, value.ns); }
  template <class Tag>
  void set(Field field, StrongId<Tag> id) {
    set(field, id.value);
  }
  template <class E>
  requires std::is_enum_v<E>
  void set(Field field, E value) { set(field, static_cast<std::int32_t>(value)); }
  template <class T>
  void set(Field field, const std::optional<T>& value) {
    if (value) set(field, *value);
  }
  template <HasFields T>
  void set(Field field, const T& value) {
    write(*reflection_.MutableMessage(&to_, field), value);
  }
  template <class T>
  void set(Field field, const std::vector<T>& values) {
    for (const T& value : values) add(field, value);
  }
  void set(Field field, const std::map<std::string, std::string>& values) {
    for (const auto& [name, value] : values) {
      auto& variable =
          static_cast<wire::EnvironmentVariable&>(*reflection_.AddMessage(&to_, field));
      variable.set_name(name);
      variable.set_value(value);
    }
  }

  void add(Field field, std::uint32_t value) { reflection_.AddUInt32(&to_, field, value); }
  void add(Field field, std::int32_t value) { reflection_.AddInt32(&to_, field, value); }
  void add(Field field, const std::string& value) { reflection_.AddString(&to_, field, value); }
  template <HasFields T>
  void add(Field field, const T& value) {
    write(*reflection_.AddMessage(&to_, field), value);
  }

  Message& to_;
  const Reflection& reflection_;
};

// Keeps the first error and the path to where it was found, and skips the rest.
class Reader {
 public:
  explicit Reader(std::string root) : path_(std::move(root)) {}

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

  template <HasFields T>
  void read(const Message& from, T& to) {
    FieldCursor cursor(from);
    auto read_field = [&]<class F>(std::string_view name, F& field) {
      const FieldDescriptor* descriptor = cursor.next<F>(name);
      at("." + std::string(name), [&] { get(from, descriptor, field); });
    };
    fields(read_field, to);
  }

 private:
  void fail(const std::string& problem) {
    if (!error_) error_ = Error{Errc::kUnparsable, path_ + ": " + problem};
  }
  void at(const std::string& step, const auto& action) {
    if (error_) return;
    const std::size_t length = path_.size();
    path_ += step;
    action();
    path_.resize(length);
  }

  using Field = const FieldDescriptor*;
  static const Reflection& of(const Message& from) { return *from.GetReflection(); }

  void get(const Message& from, Field field, bool& to) { to = of(from).GetBool(from, field); }
  void get(const Message& from, Field field, std::uint32_t& to) {
    to = of(from).GetUInt32(from, field);
  }
  void get(const Message& from, Field field, std::uint64_t& to) {
    to = of(from).GetUInt64(from, field);
  }
  void get(const Message& from, Field field, std::int32_t& to) {
    to = of(from).GetInt32(from, field);
  }
  void get(const Message& from, Field field, std::int64_t& to) {
    to = of(from).GetInt64(from, field);
  }
  void get(const Message& from, Field field, double& to) { to = of(from).GetDouble(from, field); }
  void get(const Message& from, Field field, std::string& to) {
    to = of(from).GetString(from, field);
  }
  void get(const Message& from, Field field, std::uint16_t& to) {
    const std::uint32_t value = of(from).GetUInt32(from, field);
    if (!std::in_range<std::uint16_t>(value))
      return fail(std::to_string(value) + " is not allowed; at most 65535");
    to = static_cast<std::uint16_t>(value);
  }
  void get(const Message& from, Field field, Duration& to) {
    get(from, field, to.ns);
    if (to.ns < 0) fail(std::to_string(to.ns) + " ns is not allowed; at least 0");
  }
  template <class Tag>
  void get(const Message& from, Field field, StrongId<Tag>& to) {
    get(from, field, to.value);
  }
  template <class E>
  requires std::is_enum_v<E>
  void get(const Message& from, Field field, E& to) {
    const std::int32_t value = of(from).GetInt32(from, field);
    if (value < 0 || std::cmp_greater_equal(value, kWords<E>.size()))
      return fail(std::to_string(value) + " is not known; is the peer of another version?");
    to = static_cast<E>(value);
  }
  template <class T>
  void get(const Message& from, Field field, std::optional<T>& to) {
    if (of(from).HasField(from, field)) get(from, field, to.emplace());
  }
  template <HasFields T>
  void get(const Message& from, Field field, T& to) {
    if (!of(from).HasField(from, field)) return fail("is missing");
    read(of(from).GetMessage(from, field), to);
  }
  template <class T>
  void get(const Message& from, Field field, std::vector<T>& to) {
    if (!size_allowed(from, field)) return;
    to.resize(static_cast<std::size_t>(of(from).FieldSize(from, field)));
    for (int i = 0; std::cmp_less(i, to.size()); ++i) {
      at("[" + std::to_string(i) + "]",
         [&] { get_item(from, field, i, to[static_cast<std::size_t>(i)]); });
    }
  }
  void get(const Message& from, Field field, std::map<std::string, std::string>& to) {
    if (!size_allowed(from, field)) return;
    for (int i = 0; i < of(from).FieldSize(from, field); ++i) {
      const auto& variable = static_cast<const wire::EnvironmentVariable&>(
          of(from).GetRepeatedMessage(from, field, i));
      if (!to.emplace(variable.name(), variable.value()).second)
        return fail("\"" + variable.name() + "\" is there twice");
    }
  }

  bool size_allowed(const Message& from, Field field) {
    const int size = of(from).FieldSize(from, field);
    if (size > kItemsMax)
      fail(std::to_string(size) + " items; at most " + std::to_string(kItemsMax));
    return size <= kItemsMax;
  }
  void get_item(const Message& from, Field field, int i, std::uint32_t& to) {
    to = of(from).GetRepeatedUInt32(from, field, i);
  }
  void get_item(const Message& from, Field field, int i, std::int32_t& to) {
    to = of(from).GetRepeatedInt32(from, field, i);
  }
  void get_item(const Message& from, Field field, int i, std::string& to) {
    to = of(from).GetRepeatedString(from, field, i);
  }
  template <HasFields T>
  void get_item(const Message& from, Field field, int i, T& to) {
    read(of(from).GetRepeatedMessage(from, field, i), to);
  }

  std::string path_;
  std::optional<Error> error_;
};

template <class Envelope, class Variant>
Envelope wrap(const Variant& message) {
  const auto* alternatives = Envelope::descriptor()->oneof_decl(0);
  CHECK(std::cmp_equal(alternatives->field_count(), std::variant_size_v<Variant>));
  Envelope envelope;
  const FieldDescriptor* field = alternatives->field(static_cast<int>(message.index()));
  Message& part = *Envelope::GetReflection()->MutableMessage(&envelope, field);
  std::visit([&](const auto& value) { Writer::write(part, value); }, message);
  return envelope;
}

template <class Variant, std::size_t... kIndex>
Variant make_alternative(std::size_t index, std::index_sequence<kIndex...>) {
  Variant made;
  ((kIndex == index ? static_cast<void>(made.template emplace<kIndex>()) : void()), ...);
  return made;
}

template <class Variant, class Envelope>
Result<Variant> unwrap(const Envelope& envelope) {
  const Reflection& reflection = *Envelope::GetReflection();
  const FieldDescriptor* field =
      reflection.GetOneofFieldDescriptor(envelope, Envelope::descriptor()->oneof_decl(0));
  if (field == nullptr) {
    return Error{
        Errc::kUnparsable,
        "link: an empty message, or one of an unknown kind; is the peer of another version?"};
  }
  auto message =
      make_alternative<Variant>(static_cast<std::size_t>(field->index_in_oneof()),
                                std::make_index_sequence<std::variant_size_v<Variant>>());
  Reader reader("link: " + field->name());
  std::visit([&](auto& value) { reader.read(reflection.GetMessage(envelope, field), value); },
             message);
  if (reader.error()) return *reader.error();
  return message;
}

}  // namespace

wire::AgentEnvelope to_wire(const AgentMessage& message) {
  return wrap<wire::AgentEnvelope>(message);
}

wire::ServerEnvelope to_wire(const ServerMessage& message) {
  return wrap<wire::ServerEnvelope>(message);
}

Result<AgentMessage> from_wire(const wire::AgentEnvelope& envelope) {
  return unwrap<AgentMessage>(envelope);
}

Result<ServerMessage> from_wire(const wire::ServerEnvelope& envelope) {
  return unwrap<ServerMessage>(envelope);
}

}  // namespace holdfast
