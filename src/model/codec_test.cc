#include "model/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <concepts>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "model/fields.h"

namespace holdfast {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Fills any value that is written down with something that no default has.
class Fill {
 public:
  explicit Fill(std::uint64_t seed) : prng_(seed) {}

  template <class T>
  void operator()(std::string_view, T& field) {
    fill(field);
  }

  void fill(bool& value) { value = true; }
  void fill(std::string& value) {
    const std::vector<std::string> texts = {"x", "Zeile 1\nZeile 2", "\"quoted\" \\", "größer ☃"};
    value = texts[prng_.below(texts.size())];
  }
  void fill(double& value) { value = 0.1 * static_cast<double>(1 + prng_.below(1000)); }
  void fill(Instant& value) { fill(value.ns); }
  void fill(Duration& value) { fill(value.ns); }
  void fill(WallTime& value) { fill(value.ns); }
  template <std::integral T>
  void fill(T& value) {
    value = prng_.chance(1, 3) ? std::numeric_limits<T>::max() : static_cast<T>(prng_.next() | 1);
  }
  template <class E>
  requires std::is_enum_v<E>
  void fill(E& value) { value = static_cast<E>(1 + prng_.below(kWords<E>.size() - 1)); }
  template <class Tag>
  void fill(StrongId<Tag>& id) {
    fill(id.value);
  }
  template <class T>
  void fill(std::optional<T>& value) {
    fill(value.emplace());
  }
  template <class T>
  void fill(std::vector<T>& values) {
    values.resize(1 + prng_.below(2));
    for (T& value : values) fill(value);
  }
  template <class T>
  void fill(std::set<T>& values) {
    T value{};
    fill(value);
    values.insert(value);
  }
  template <class Key, class T>
  void fill(std::map<Key, T>& values) {
    Key key{};
    fill(key);
    fill(values[key]);
  }
  template <HasFields T>
  void fill(T& value) {
    fields(*this, value);
  }

 private:
  Prng prng_;
};

template <std::size_t... I>
std::vector<Event> one_of_each(std::uint64_t seed, std::index_sequence<I...>) {
  Fill fill(seed);
  auto filled = [&]<class T>(T alternative) {
    fill.fill(alternative);
    return Event(std::move(alternative));
  };
  return {filled(std::variant_alternative_t<I, Event>{})...};
}

std::vector<Event> one_of_each(std::uint64_t seed) {
  return one_of_each(seed, std::make_index_sequence<std::variant_size_v<Event>>());
}

ClusterState populated(std::uint64_t seed) {
  ClusterState state;
  Fill(seed).fill(state);
  return state;
}

std::string error_of(const auto& result) {
  return result.ok() ? "no error" : result.error().text();
}

TEST(Codec, EveryEventComesBackAsItWas) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const Event& event : one_of_each(seed)) {
      const std::string text = encode(event);
      const auto decoded = decode_event(text);
      ASSERT_TRUE(decoded.ok()) << error_of(decoded) << "\n" << text;
      EXPECT_EQ(decoded->index(), event.index());
      EXPECT_EQ(encode(*decoded), text);
      EXPECT_THAT(text, Not(HasSubstr("\n")));
    }
  }
}

TEST(Codec, AStateComesBackAsItWas) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const std::string text = encode(populated(seed));
    const auto decoded = decode_cluster_state(text);
    ASSERT_TRUE(decoded.ok()) << error_of(decoded) << "\n" << text;
    EXPECT_EQ(encode(*decoded), text);
  }
  const auto empty = decode_cluster_state(encode(ClusterState{}));
  ASSERT_TRUE(empty.ok()) << error_of(empty);
  EXPECT_EQ(encode(*empty), encode(ClusterState{}));
}

TEST(Codec, EachKindOfEventHasItsOwnTag) {
  std::set<std::string> tags;
  for (const Event& event : one_of_each(1)) tags.insert(json::parse(encode(event)).begin().key());
  EXPECT_EQ(tags.size(), std::variant_size_v<Event>);
  EXPECT_FALSE(tags.contains(""));
}

TEST(Codec, TheWrittenFormIsStable) {
  const Event event = event::TimerFired{{TimerKind::kBackoff, JobId{1}, Attempt{2}}};
  EXPECT_EQ(encode(event), R"({"timer_fired":{"timer":{"attempt":"a2","check":null,)"
                           R"("job":"j1","kind":"backoff","node":null}}})");

  IncidentRecord incident;
  incident.id = IncidentId{4};
  incident.phases[0] = Instant{5};
  const json written = to_json_value(incident);
  EXPECT_EQ(written["id"], "i4");
  EXPECT_EQ(written["job"], nullptr);
  EXPECT_EQ(written["phases"]["noticed_ns"], 5);
  EXPECT_EQ(written["phases"]["first_step_ns"], nullptr);
}

TEST(Codec, ALossThatIsNoNumberIsNull) {
  event::Progressed progressed;
  progressed.progress.loss = std::numeric_limits<double>::quiet_NaN();
  const std::string text = encode(Event(progressed));
  EXPECT_THAT(text, HasSubstr(R"("loss":null)"));
  const auto decoded = decode_event(text);
  ASSERT_TRUE(decoded.ok()) << error_of(decoded);
  EXPECT_TRUE(std::isnan(std::get<event::Progressed>(*decoded).progress.loss));
}

TEST(Codec, OutputThatIsNoUtf8IsStillWritten) {
  event::RankExited exited;
  exited.exit.log_tail = "cut \xE2\x98";
  JobSpec spec;
  spec.environment["\xFF"] = "\xFF";
  EXPECT_THAT(encode(Event(exited)), HasSubstr("cut \xEF\xBF\xBD"));
  EXPECT_TRUE(decode_event(encode(Event(exited))).ok());
  EXPECT_TRUE(decode_event(encode(Event(event::JobSubmitted{spec}))).ok());
}

// Calls `change` with a copy of `document` and each place in it that `change` may alter.
void for_each_place(const json& document, const auto& change) {
  const json flat = document.flatten();
  for (const auto& [place, unused] : flat.items()) {
    for (json::json_pointer at(place); !at.empty(); at.pop_back()) {
      json copy = document;
      change(copy, at);
    }
  }
}

TEST(Codec, AMissingFieldIsNamed) {
  for (const Event& event : one_of_each(2)) {
    const json document = json::parse(encode(event));
    for_each_place(document, [](json& copy, const json::json_pointer& at) {
      json& parent = copy[at.parent_pointer()];
      const std::string parent_path = at.parent_pointer().to_string();
      const bool is_map =
          parent_path.ends_with("/environment") || parent_path.ends_with("/software");
      if (!parent.is_object() || at.parent_pointer().empty() || is_map) return;
      parent.erase(at.back());
      EXPECT_THAT(error_of(decode_event(copy.dump())),
                  HasSubstr("the field \"" + at.back() + "\" is missing"));
    });
  }
}

TEST(Codec, ASnapshotOfAnOlderProgramIsRead) {
  ClusterState state;
  state.groups.push_back({.number = 1, .failure = "x"});
  state.nodes[NodeId{3}] = {.id = NodeId{3}, .place = 2};
  json document = json::parse(encode(state));
  for (const char* field : {"scalings", "scalings_made"}) document.erase(field);
  document["groups"][0].erase("tries_without_capacity");
  for (const char* field : {"left_place", "no_capacity"}) document["nodes"]["n3"].erase(field);
  const auto read = decode_cluster_state(document.dump());
  ASSERT_TRUE(read.ok()) << error_of(read);
  EXPECT_EQ(encode(*read), encode(state));
  document["nodes"]["n3"].erase("place");
  EXPECT_THAT(error_of(decode_cluster_state(document.dump())),
              HasSubstr("the field \"place\" is missing"));
}

TEST(Codec, AnUnknownFieldIsNamed) {
  for (const Event& event : one_of_each(3)) {
    const json document = json::parse(encode(event));
    for_each_place(document, [](json& copy, const json::json_pointer& at) {
      if (!copy[at].is_object() || at.back() == "environment" || at.back() == "software") return;
      copy[at]["colour"] = 1;
      EXPECT_THAT(error_of(decode_event(copy.dump())),
                  HasSubstr("the field \"colour\" is not known"));
    });
  }
}

TEST(Codec, AWrongTypeIsRefusedEverywhere) {
  for (const Event& event : one_of_each(4)) {
    const json document = json::parse(encode(event));
    for_each_place(document, [](json& copy, const json::json_pointer& at) {
      copy[at] = copy[at].is_array() ? json::object() : json::array();
      EXPECT_THAT(error_of(decode_event(copy.dump())), HasSubstr("expected"));
    });
  }
}

TEST(Codec, AnErrorNamesPlaceValueAndWhatIsAllowed) {
  json document = json::parse(encode(one_of_each(5).at(5)));
  document["ranks_started"]["started"]["pids"][0] = 1ull << 40;
  EXPECT_EQ(error_of(decode_event(document.dump())),
            "HF1007: event.ranks_started.started.pids[0]: expected an integer from -2147483648 to "
            "2147483647, found 1099511627776");
  EXPECT_EQ(error_of(decode_event(
                R"({"timer_fired":{"timer":{"attempt":"a2","job":"j1","kind":"egg"}}})")),
            "HF1007: event.timer_fired.timer.kind: expected one of drain, stacks, start, backoff, "
            "quiet, repair, check, update, capacity, lifecycle, no_capacity, found \"egg\"");
  EXPECT_EQ(error_of(decode_event(R"({"big_bang":{}})")),
            "HF1007: event: \"big_bang\" is no kind of event that this version knows");
  EXPECT_THAT(error_of(decode_event(encode(one_of_each(6).at(2)).substr(0, 40))),
              StartsWith("HF1007: event: not a JSON document"));
  EXPECT_THAT(error_of(decode_cluster_state("[]")),
              StartsWith("HF1007: state: expected an object"));
}

TEST(Codec, AnIdIsReadStrictly) {
  for (const char* id : {"\"n1\"", "\"j0\"", "\"j\"", "\"j01\"", "\"j4294967296\"", "\"j1x\"",
                         "\"j-1\"", "\"\"", "1", "true"}) {
    const std::string text = std::string(R"({"job_stop_asked":{"by":"me","job":)") + id + "}}";
    EXPECT_THAT(error_of(decode_event(text)), HasSubstr("event.job_stop_asked.job: expected"));
  }
}

TEST(Codec, DamagedTextNeverCrashes) {
  Prng prng(7);
  std::vector<std::string> texts;
  for (const Event& event : one_of_each(8)) texts.push_back(encode(event));
  for (int i = 0; i < 20'000; ++i) {
    std::string text = texts[prng.below(texts.size())];
    for (std::uint64_t edits = 1 + prng.below(3); edits > 0 && !text.empty(); --edits) {
      const std::size_t at = prng.below(text.size());
      switch (prng.below(3)) {
        case 0:
          text[at] = static_cast<char>(prng.below(256));
          break;
        case 1:
          text.erase(at, 1 + prng.below(8));
          break;
        default:
          text.insert(at, text, prng.below(text.size()), prng.below(8));
          break;
      }
    }
    const auto decoded = decode_event(text);
    if (decoded.ok()) {
      EXPECT_TRUE(decode_event(encode(*decoded)).ok()) << text;
    } else {
      EXPECT_EQ(decoded.error().code, Errc::kUnparsable);
    }
  }
}

}  // namespace
}  // namespace holdfast
