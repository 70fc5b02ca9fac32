#include "core/diagnose/flight_record.h"

#include <algorithm>
#include <deque>
#include <set>
#include <utility>
#include <variant>
#include <vector>

namespace holdfast {
namespace {

constexpr std::size_t kStackMax = 1 << 20;

struct Value;
using List = std::vector<Value>;
using Pairs = std::vector<std::pair<Value, Value>>;
struct Mark {};
struct TypedList {};  // torch.jit._pickle.build_intlist and its like: gives its argument back

// Texts are views of the pickle; lists and dicts belong to the Unpickler, because a pickle puts one
// aside and fills it afterwards, and may nest them as deep as it likes.
struct Value {
  std::variant<std::monostate, Mark, TypedList, std::int64_t, std::string_view, List*, Pairs*> is;

  [[nodiscard]] const std::string_view* text() const { return std::get_if<std::string_view>(&is); }
  [[nodiscard]] const List* list() const {
    const auto* found = std::get_if<List*>(&is);
    return found == nullptr ? nullptr : *found;
  }
  [[nodiscard]] const Value* at(std::string_view key) const;
};

const Value* Value::at(std::string_view key) const {
  const auto* pairs = std::get_if<Pairs*>(&is);
  if (pairs == nullptr) return nullptr;
  for (const auto& [name, value] : **pairs)
    if (name.text() != nullptr && *name.text() == key) return &value;
  return nullptr;
}

// The stack machine of a pickle. The opcodes are those of Python's pickletools.
class Unpickler {
 public:
  explicit Unpickler(std::string_view text) : text_(text) {}

  Result<Value> run() {
    while (ok_ && at_ < text_.size() && stack_.size() < kStackMax) {
      const char opcode = text_[at_++];
      if (opcode == '.') {
        if (stack_.size() != 1) break;
        return stack_.back();
      }
      step(opcode);
    }
    return Error{Errc::kUnparsable, "flight record: byte " + std::to_string(at_) +
                                        " is not what a dump of numbers, texts, lists and dicts "
                                        "has there; dump it again"};
  }

 private:
  void step(char opcode) {
    if (!number(opcode) && !text(opcode) && !container(opcode) && !memo(opcode)) ok_ = false;
  }

  std::uint64_t take(std::size_t bytes) {
    if (text_.size() - at_ < bytes) {
      ok_ = false;
      return 0;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i)
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(text_[at_ + i])) << (8 * i);
    at_ += bytes;
    return value;
  }
  std::string_view take_text(std::uint64_t bytes) {
    if (!ok_ || text_.size() - at_ < bytes) {
      ok_ = false;
      return {};
    }
    at_ += bytes;
    return text_.substr(at_ - bytes, bytes);
  }
  std::string_view take_line() {
    const auto end = text_.find('\n', at_);
    const auto line = take_text(end == std::string_view::npos ? text_.size() : end - at_);
    take(1);
    return line;
  }
  template <class T>
  void push(T value) {
    stack_.push_back({std::move(value)});
  }
  Value pop() {
    if (stack_.empty()) {
      ok_ = false;
      return {};
    }
    const Value value = stack_.back();
    stack_.pop_back();
    return value;
  }
  // What lies above the topmost mark; the mark goes too.
  List pop_to_mark() {
    const auto mark = std::find_if(stack_.rbegin(), stack_.rend(), [](const Value& value) {
      return std::holds_alternative<Mark>(value.is);
    });
    if (mark == stack_.rend()) {
      ok_ = false;
      return {};
    }
    List above(std::make_move_iterator(mark.base()), std::make_move_iterator(stack_.end()));
    stack_.erase(mark.base() - 1, stack_.end());
    return above;
  }

  bool number(char opcode) {
    switch (opcode) {
      case 'N':
        push(std::monostate{});
        return true;
      case '\x88':
      case '\x89':
        push(std::int64_t{opcode == '\x88'});
        return true;
      case 'K':
        push(static_cast<std::int64_t>(take(1)));
        return true;
      case 'M':
        push(static_cast<std::int64_t>(take(2)));
        return true;
      case 'J':
        push(std::int64_t{static_cast<std::int32_t>(take(4))});
        return true;
      case '\x8a': {  // LONG1: little-endian, two's complement
        const std::uint64_t bytes = take(1);
        if (bytes > 8) return false;
        std::uint64_t value = take(bytes);
        if (bytes > 0 && bytes < 8 && (value >> (8 * bytes - 1) & 1) != 0)
          value |= ~std::uint64_t{0} << (8 * bytes);
        push(static_cast<std::int64_t>(value));
        return true;
      }
      case 'G':  // a float: of no use here
        take(8);
        push(std::monostate{});
        return true;
      default:
        return false;
    }
  }

  bool text(char opcode) {
    switch (opcode) {
      case 'X':
      case 'B':
      case 'T':
        push(take_text(take(4)));
        return true;
      case '\x8c':
      case 'C':
      case 'U':
        push(take_text(take(1)));
        return true;
      case '\x8d':
        push(take_text(take(8)));
        return true;
      case 'c': {  // a name of Python: only those that make typed lists
        const std::string_view module = take_line(), name = take_line();
        if (module != "torch.jit._pickle" || !name.starts_with("build_")) return false;
        push(TypedList{});
        return true;
      }
      case 'R': {
        const Value arguments = pop(), callee = pop();
        const List* list = arguments.list();
        if (!std::holds_alternative<TypedList>(callee.is) || list == nullptr || list->empty())
          return false;
        stack_.push_back(list->front());
        return true;
      }
      default:
        return false;
    }
  }

  bool container(char opcode) {
    switch (opcode) {
      case '(':
        push(Mark{});
        return true;
      case ']':
      case ')':
        push(&lists_.emplace_back());
        return true;
      case '}':
        push(&dicts_.emplace_back());
        return true;
      case 't':
      case 'l':
        push(&lists_.emplace_back(pop_to_mark()));
        return true;
      case '\x85':
      case '\x86':
      case '\x87': {
        const auto count = static_cast<std::size_t>(static_cast<unsigned char>(opcode) - 0x84);
        if (stack_.size() < count) return false;
        List& list =
            lists_.emplace_back(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
        stack_.resize(stack_.size() - count);
        push(&list);
        return true;
      }
      case 'a':
      case 'e':
        return append(opcode == 'a' ? List{pop()} : pop_to_mark());
      case 's': {
        const Value value = pop(), key = pop();
        return set({key, value});
      }
      case 'u':
        return set(pop_to_mark());
      default:
        return false;
    }
  }

  bool append(const List& items) {
    if (stack_.empty()) return false;
    auto* list = std::get_if<List*>(&stack_.back().is);
    if (list == nullptr) return false;
    (*list)->insert((*list)->end(), items.begin(), items.end());
    return true;
  }
  bool set(const List& items) {
    if (stack_.empty() || items.size() % 2 != 0) return false;
    auto* pairs = std::get_if<Pairs*>(&stack_.back().is);
    if (pairs == nullptr) return false;
    for (std::size_t i = 0; i < items.size(); i += 2)
      (*pairs)->emplace_back(items[i], items[i + 1]);
    return true;
  }

  bool memo(char opcode) {
    switch (opcode) {
      case '\x80':  // PROTO
        take(1);
        return true;
      case '\x95':  // FRAME
        take(8);
        return true;
      case '\x94':
        return remember(memo_.size());
      case 'q':
        return remember(take(1));
      case 'r':
        return remember(take(4));
      case 'h':
        return recall(take(1));
      case 'j':
        return recall(take(4));
      default:
        return false;
    }
  }
  bool remember(std::uint64_t key) {
    if (stack_.empty()) return false;
    memo_[key] = stack_.back();
    return true;
  }
  bool recall(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) return false;
    stack_.push_back(found->second);
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool ok_ = true;
  std::vector<Value> stack_;
  std::deque<List> lists_;
  std::deque<Pairs> dicts_;
  std::map<std::uint64_t, Value> memo_;
};

// ("0", "default_pg") or a name
std::string group_of(const Value& entry) {
  const Value* group = entry.at("process_group");
  if (group != nullptr && group->list() != nullptr && !group->list()->empty())
    group = &group->list()->front();
  return group != nullptr && group->text() != nullptr ? std::string(*group->text()) : std::string();
}

// "[4, 8]"; of lists in lists the first levels are enough.
std::string text_of(const Value& value, int levels) {
  if (const auto* number = std::get_if<std::int64_t>(&value.is)) return std::to_string(*number);
  if (value.list() == nullptr || levels == 0) return "?";
  std::string text = "[";
  constexpr std::size_t kMost = 8;
  for (std::size_t i = 0; i < value.list()->size() && i < kMost; ++i)
    text += (i == 0 ? "" : ", ") + text_of((*value.list())[i], levels - 1);
  return text + "]";
}

std::string operation_of(const Value& entry) {
  const Value* name = entry.at("profiling_name");
  if (name == nullptr || name->text() == nullptr) return {};
  constexpr std::size_t kNameMax = 80;
  std::string operation(name->text()->substr(0, kNameMax));
  const Value* sizes = entry.at("input_sizes");
  for (const char* alike : {"all_reduce", "reduce_scatter", "all_gather"})
    if (sizes != nullptr && operation.find(alike) != std::string::npos)
      return operation + " " + text_of(*sizes, 2);
  return operation;
}

}  // namespace

Result<std::map<std::string, FlightPosition>> read_flight_record(std::string_view pickle) {
  Unpickler unpickler(pickle);
  HF_TRY(const Value root, unpickler.run());
  const Value* entries = root.at("entries");
  if (entries == nullptr || entries->list() == nullptr)
    return Error{Errc::kUnparsable,
                 "flight record: 'entries' is not there; it is no dump of PyTorch's recorder"};
  std::map<std::string, FlightPosition> last;
  std::set<const Pairs*> seen_dicts;  // one that is listed again and again says nothing new
  for (const Value& entry : *entries->list()) {
    const auto* dict = std::get_if<Pairs*>(&entry.is);
    if (dict == nullptr || !seen_dicts.insert(*dict).second) continue;
    const Value* p2p = entry.at("is_p2p");
    const auto* is_p2p = p2p == nullptr ? nullptr : std::get_if<std::int64_t>(&p2p->is);
    const Value* number = entry.at("collective_seq_id");
    const auto* sequence = number == nullptr ? nullptr : std::get_if<std::int64_t>(&number->is);
    if (sequence == nullptr || *sequence < 0 || (is_p2p != nullptr && *is_p2p != 0)) continue;
    constexpr std::int64_t kMost = std::int64_t{1} << 62;
    const Value* state = entry.at("state");
    const bool waits_in_stream =
        state != nullptr && state->text() != nullptr && *state->text() == "scheduled";
    const std::uint64_t reached =
        2 * static_cast<std::uint64_t>(std::min(*sequence, kMost)) + (waits_in_stream ? 0 : 1);
    FlightPosition& seen = last[group_of(entry)];
    if (reached < seen.reached) continue;
    seen = {reached, operation_of(entry)};
  }
  return last;
}

}  // namespace holdfast
